"""Where the image of a CPHD file lies: the frame of its plane, and the grid that the file proposes.

The origin of a frame is the file's reference point of the image area (IARP). Its third axis points
away from the Earth.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.geometry.earth import EarthFrame
from pipeline.rf.geometry.scene import Scene

_AREA = "{*}SceneCoordinates"
_GRID = f"{_AREA}/{{*}}ImageGrid"
_RIGHT_ANGLE = 1e-6


def image_frame(xml: Any, antenna: NDArray[np.float64], plane: str, who: str) -> EarthFrame:
    """Return the frame of a plane.

    Of ``file`` the axes are those of the file's image area, of ``east-north`` these directions. Of
    ``slant`` y leads to the antenna in the middle of its path, Earth-centred ``(3,)`` [m], and x is
    horizontal.
    """
    from sarkit import wgs84
    from sarkit.cphd import XmlHelper

    load: Any = XmlHelper(xml).load
    origin = np.asarray(load(f"{_AREA}/{{*}}IARP/{{*}}ECF"), np.float64)
    geodetic = wgs84.cartesian_to_geodetic(origin)
    up = wgs84.up(geodetic)
    match plane:
        case "east-north":
            x, y = wgs84.east(geodetic), wgs84.north(geodetic)
        case "slant":
            y = _unit(antenna - origin)
            x = _unit(np.cross(y, up))
        case _:
            x, y = _of_area(load, geodetic)
    if abs(x @ y) > _RIGHT_ANGLE:
        raise DataError(
            f"{who}: the axes of its image area are not at right angles (their cosine is "
            f"{x @ y:.2g}); set `plane` to east-north or slant"
        )
    z = np.cross(x, y)
    if z @ up <= 0:
        raise DataError(
            f"{who}: the axes of its image area are left-handed seen from above; set `plane` to "
            "east-north or slant"
        )
    return EarthFrame(origin, np.stack([x, y, z]))


def _of_area(load: Any, geodetic: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the directions of the image area's axes, tangential to its surface."""
    from sarkit import wgs84

    surface = f"{_AREA}/{{*}}ReferenceSurface"
    axes = [load(f"{surface}/{{*}}Planar/{{*}}uIA{axis}") for axis in "XY"]
    if axes[0] is not None:
        return [_unit(np.asarray(axis, np.float64)) for axis in axes]
    # Of constant height: changes of latitude and longitude for a metre along each axis.
    steps = [np.rad2deg(load(f"{surface}/{{*}}HAE/{{*}}uIA{axis}LL")) for axis in "XY"]
    here = wgs84.geodetic_to_cartesian(geodetic)
    moved = (wgs84.geodetic_to_cartesian(geodetic + np.array([*step, 0.0])) for step in steps)
    return [_unit(there - here) for there in moved]


def scene_of_grid(xml: Any, plane: str, who: str) -> Scene:
    """Return the grid that a file proposes for its own image area; `ConfigError` without one."""
    from sarkit.cphd import XmlHelper

    load: Any = XmlHelper(xml).load
    if plane != "file" or xml.find(_GRID) is None:
        why = "has no ImageGrid" if plane == "file" else "gives a grid for its own plane only"
        raise ConfigError(
            f"{who}: the file {why}; give `scene` with shape, spacing and origin, in metres from "
            "its reference point (IARP)"
        )
    shape, spacing, origin = [], [], []
    for axis, along, places in (("X", "Line", "Lines"), ("Y", "Sample", "Samples")):
        extent = f"{_GRID}/{{*}}IA{axis}Extent/{{*}}"
        count, step = load(f"{extent}Num{places}"), load(f"{extent}{along}Spacing")
        middle = load(f"{extent}First{along}") + count // 2
        shape.append(count)
        spacing.append(step)
        origin.append((middle - load(f"{_GRID}/{{*}}IARPLocation/{{*}}{along}")) * step)
    return Scene(tuple(shape), tuple(spacing), tuple(origin))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))
