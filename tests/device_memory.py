"""The used memory of a CUDA device by its driver, which also sees what passes torch's allocator."""

import threading

from pipeline.engine.leases import device_handle, driver, visible_devices

_SECONDS_BETWEEN_LOOKS = 0.002


class DeviceMemory:
    """Within this context, `peak_bytes` is by how much the used memory of a device rose at most.

    Of the first visible one; 0 where there is none. A context on the device, some hundred MB, is
    counted where it was made within.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._begun, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "DeviceMemory":
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            devices = visible_devices()
            with driver() as nvml:
                if nvml is not None and devices:
                    device = device_handle(nvml, devices[0])
                    before = nvml.nvmlDeviceGetMemoryInfo(device).used
                    self._begun.set()
                    while not self._done.wait(_SECONDS_BETWEEN_LOOKS):
                        used = nvml.nvmlDeviceGetMemoryInfo(device).used
                        self.peak_bytes = max(self.peak_bytes, used - before)
        finally:
            self._begun.set()  # also where there is no device
