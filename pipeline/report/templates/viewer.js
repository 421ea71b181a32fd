"use strict";
// Shows images of `viewer.js` files, which pipeline/merge/viewer.py writes, by NiiVue.

const at = (id) => document.getElementById(id);
const images = JSON.parse(at("images").textContent);
const views = { planes: 3, axial: 0, coronal: 1, sagittal: 2, turn: 4 }; // NiiVue's numbers
const across = { axial: 2, coronal: 1, sagittal: 0 }; // axis (x, y, z) that a plane is cut along
const FRAME_MS = 150;

let arrived = null;
function kronufft(volume) { // called by each file of images
  arrived = volume;
}

const loaded = new Map();
function load(image) {
  if (!loaded.has(image.script)) {
    loaded.set(image.script, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = image.script;
      script.onload = () => resolve(arrived);
      script.onerror = () => reject(new Error(`${image.script} is not there: keep it beside this page`));
      document.head.append(script);
    }));
  }
  return loaded.get(image.script);
}

// One layer shows the image, the other, above it, what it is compared with.
const layers = ["first", "second"].map((id) => ({ canvas: at(id), volume: null, viewer: new niivue.Niivue({
  backColor: [0, 0, 0, 1], crosshairColor: [0.3, 0.65, 0.95, 0.8], crosshairWidth: 0.4, crosshairWidthUnit: "percent", isResizeCanvas: true,
  dragMode: niivue.DRAG_MODE.slicer3D, loadingText: "", logLevel: "error", sagittalNoseLeft: true,
  multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
}) }));
const shown = () => layers.filter((layer) => layer.volume);
const ready = (async () => {
  for (const layer of layers) await layer.viewer.attachToCanvas(layer.canvas);
  layers.forEach((layer) => { layer.viewer.onLocationChange = () => moved(layer.viewer); });
})();

async function show(layer, image) {
  const volume = image ? await load(image) : null;
  if (layer.volume) layer.viewer.removeVolume(layer.viewer.volumes[0]);
  layer.volume = volume;
  layer.canvas.parentElement.hidden = !volume;
  if (!volume) return;
  const colormap = volume.unit === "dB" ? "inferno" : "gray";
  layer.viewer.addVolume(await niivue.NVImage.loadFromBase64(
    { base64: volume.nifti, name: "image.nii.gz", colormap }));
  layer.viewer.setIsOrientationTextVisible(volume.oriented);
  layer.viewer.resizeListener(); // it may have been hidden
}

const complain = (error) => { at("told").textContent = error.message; };
let queue = ready;
function choose() { // one after another: a second choice waits until the first is shown
  queue = queue.then(showChosen).catch(complain);
}

async function showChosen() {
  const image = images[at("image").value];
  const other = images[at("other").value] ?? null;
  await show(layers[0], image);
  await show(layers[1], other);
  for (const { viewer } of layers) { // moves with the other; a viewer without an image cannot
    viewer.broadcastTo(shown().map((layer) => layer.viewer).filter((one) => one !== viewer), { "2d": true, "3d": true });
  }
  const { dimsRAS, nFrame4D } = layers[0].viewer.volumes[0];
  const flat = dimsRAS[3] === 1;
  document.querySelectorAll("[name=view]").forEach((view) => { view.disabled = flat && view.value !== "axial"; });
  if (flat || (other && view() === "planes")) at("axial").checked = true;
  at("frame").max = nFrame4D - 1;
  at("frame").value = Math.min(at("frame").value, nFrame4D - 1);
  at("frames").hidden = nFrame4D < 2;
  at("split").parentElement.hidden = !other;
  at("left").textContent = other ? image.reconstruction : "";
  at("right").textContent = other ? other.reconstruction : "";
  setView();
  setFrame();
  setWindow();
  setSplit();
  document.body.dataset.shown = image.script;
}

function chosen(image) { // offers what the image can be compared with, and shows it
  const others = images.filter((one) => one.dataset === image.dataset && one !== image);
  at("other").replaceChildren(new Option("nothing", ""), ...others.map(
    (one) => new Option(one.reconstruction, images.indexOf(one))));
  at("other").disabled = !others.length;
  history.replaceState(null, "", `#${image.dataset}/${image.reconstruction}`);
  at("image").value = images.indexOf(image);
  choose();
}

const view = () => document.querySelector("[name=view]:checked").value;
function setView() {
  shown().forEach(({ viewer }) => viewer.setSliceType(views[view()]));
  const axis = across[view()];
  at("slice").parentElement.hidden = axis === undefined || layers[0].viewer.volumes[0].dimsRAS[axis + 1] < 2;
  if (axis !== undefined) at("slice").max = layers[0].viewer.volumes[0].dimsRAS[axis + 1] - 1;
  moved(layers[0].viewer);
}

function setSlice() {
  const axis = across[view()];
  const place = [...layers[0].viewer.scene.crosshairPos];
  place[axis] = (Number(at("slice").value) + 0.5) / (Number(at("slice").max) + 1);
  layers[0].viewer.scene.crosshairPos = place;
  layers[0].viewer.drawScene();
  moved(layers[0].viewer);
}

function moved(source) { // the cross is elsewhere: in all layers, which tell what they are there
  const axis = across[view()];
  const place = [...source.scene.crosshairPos];
  if (axis !== undefined) at("slice").value = Math.floor(place[axis] * (Number(at("slice").max) + 1));
  const values = shown().map(({ viewer, volume }) => {
    if (place.some((part, index) => part !== viewer.scene.crosshairPos[index])) {
      viewer.scene.crosshairPos = place;
      viewer.drawScene();
    }
    const [x, y, z] = viewer.frac2vox(place);
    const value = viewer.volumes[0].getValue(x, y, z, viewer.volumes[0].frame4D);
    return `${value.toPrecision(3)} ${volume.unit}`.trim();
  });
  const slice = at("slice").parentElement.hidden ? "" : `, slice ${Number(at("slice").value) + 1} of ${Number(at("slice").max) + 1}`;
  at("told").textContent = `At the cross: ${values.join(" | ")}${slice}`;
}

function setFrame() {
  const frame = Number(at("frame").value);
  for (const { viewer } of shown()) {
    const [volume] = viewer.volumes;
    viewer.setFrame4D(volume.id, Math.min(frame, volume.nFrame4D - 1));
  }
  at("which").textContent = `${layers[0].volume.along} ${layers[0].volume.frames[frame]}`;
  moved(layers[0].viewer);
}

let playing = null;
function play() {
  clearInterval(playing);
  playing = playing ? null : setInterval(() => {
    at("frame").value = (Number(at("frame").value) + 1) % (Number(at("frame").max) + 1);
    setFrame();
  }, FRAME_MS);
  at("play").textContent = playing ? "Pause" : "Play";
}

function setWindow() { // in percent of the window that the image came with
  for (const { viewer, volume } of shown()) {
    const [black, white] = volume.window;
    const middle = black + (white - black) * at("level").value / 100;
    const half = (white - black) * at("window").value / 200;
    viewer.volumes[0].cal_min = middle - half;
    viewer.volumes[0].cal_max = middle + half;
    viewer.updateGLVolume();
  }
}

function setSplit() {
  const place = at("split").value;
  layers[1].canvas.parentElement.style.clipPath = `inset(0 0 0 ${place}%)`;
  at("line").style.left = `${place}%`;
  at("line").hidden = !layers[1].volume;
}

function sort(table, column, button) {
  const rising = button.ariaSort !== "ascending";
  table.querySelectorAll("th").forEach((header) => header.removeAttribute("aria-sort"));
  button.ariaSort = rising ? "ascending" : "descending";
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = new Intl.Collator(undefined, { numeric: true });
  const number = (row) => Number.parseFloat(key(row));
  const rows = [...table.tBodies[0].rows];
  const compare = rows.every((row) => key(row) === "" || Number.isFinite(Number(key(row))))
    ? (a, b) => (number(a) || 0) - (number(b) || 0) : (a, b) => order.compare(key(a), key(b));
  table.tBodies[0].append(...rows.sort((a, b) => (rising ? 1 : -1) * compare(a, b)));
}

document.querySelectorAll("table.sortable").forEach((table) => {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sort(table, column, header));
  });
});

function wanted() {
  const name = decodeURIComponent(location.hash.slice(1));
  return images.find((one) => `${one.dataset}/${one.reconstruction}` === name) ?? images[0];
}

const listen = (id, what, doing) => at(id).addEventListener(what, doing);
if (!images.length) {
  at("told").textContent = "No image has a viewer.js: the setting `output.viewer` is off, or nothing was made.";
} else if (!document.createElement("canvas").getContext("webgl2")) {
  at("told").textContent = "This browser has no WebGL 2, which the viewer needs. The pictures are in report.html.";
} else {
  listen("image", "change", () => chosen(images[at("image").value]));
  listen("other", "change", choose);
  listen("frame", "input", setFrame);
  listen("slice", "input", setSlice);
  listen("play", "click", play);
  listen("level", "input", setWindow);
  listen("window", "input", setWindow);
  listen("split", "input", setSplit);
  document.querySelectorAll("[name=view]").forEach((one) => one.addEventListener("change", setView));
  addEventListener("hashchange", () => chosen(wanted()));
  chosen(wanted());
}
