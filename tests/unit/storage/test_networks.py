"""The file of a trained network: what it says of its parameters is what they are."""

import json

import numpy as np
import pytest

from pipeline.errors import KronufftError
from pipeline.solvers.unrolled import UnrolledProximalGradient
from pipeline.storage.networks import NetworkArguments, read_network, write_network


@pytest.mark.parametrize(
    ("layers", "image_axes", "channels", "kernel_size"), [(3, 2, 4, 5), (1, 3, 2, 3), (2, 1, 0, 1)]
)
def test_a_file_holds_the_parameters_that_its_arguments_ask_for(
    tmp_path, layers, image_axes, channels, kernel_size
):
    net = UnrolledProximalGradient(
        layers, image_axes=image_axes, channels=channels, kernel_size=kernel_size, step=0.7
    )
    held = net.state_dict()
    expected = {
        name: ("c" if value.is_complex() else "f", tuple(value.shape))
        for name, value in held.items()
    }
    assert NetworkArguments(**net.settings).parameters() == expected
    path = tmp_path / "net.npz"
    write_network(path, arguments=net.settings, parameters=held, training={})
    arguments, parameters = read_network(path)
    assert dict(arguments) == net.settings
    assert all(np.array_equal(parameters[name], value.numpy()) for name, value in held.items())


def altered(path, *, remove=(), pack=np.savez, **changes):
    """Write a network of two channels in which arrays are other ones."""
    net = UnrolledProximalGradient(1, image_axes=2, channels=2)
    arrays = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    arrays["about"] = np.array(json.dumps({"arguments": net.settings}))
    arrays |= {name.replace("__", "."): value for name, value in changes.items()}
    pack(path, **{name: value for name, value in arrays.items() if name not in remove})
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layers__0__step": np.float32(np.nan)}, "layers.0.step` holds NaN"),
        ({"layers__0__step": np.zeros(2)}, r"float64 of shape \(2,\); expected real"),
        ({"layers__0__threshold": np.complex64(1)}, "complex64"),
        ({"layers__1__step": np.float32(1)}, "it holds `layers.1.step`"),
        ({"remove": ["layers.0.step"]}, "it lacks `layers.0.step`"),
        ({"remove": ["about"]}, "about"),
        ({"about": np.array("{}")}, "`layers`: Field required"),
        ({"about": np.array("null")}, "does not say how it is made"),
        ({"about": np.array('{"arguments": {"layers": 1000000, "image_axes": 2}}')}, "`layers`"),
        ({"pack": np.savez_compressed}, "compressed"),
    ],
)
def test_what_is_no_network_is_told(tmp_path, changes, told):
    with pytest.raises(KronufftError, match=told):
        read_network(altered(tmp_path / "net.npz", **changes))
