import json

import pytest

from hw_cost.devices import Device


def test_this_machine_is_itself():
    device = Device.here()
    again = Device.from_json(json.loads(json.dumps(device.to_json())) | {"a_newer_field": 1})
    assert again == device and again.same_machine(device)
    assert device.cores >= 1 and device.runtime == "onnxruntime" and device.cpu


@pytest.mark.parametrize("name", ["cpu", "cpu_signature", "runtime_version", "threads", "precision"])
def test_another_processor_or_setting_is_another_device(name):
    device = Device.here()
    other = Device.from_json(device.to_json() | {name: 99})
    assert not device.same_machine(other) and device.differences(other) == [name]


def test_circumstances_do_not_make_another_device():
    device = Device.here()
    assert device.same_machine(Device.from_json(device.to_json() | {"load": 9.0, "governor": "powersave"}))


def test_bad_descriptions_are_refused():
    with pytest.raises(ValueError, match="not described completely.*cpu"):
        Device.from_json({"threads": 1})
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        Device.here(threads=0)


def test_slugs_are_file_names():
    slug = Device.from_json(Device.here().to_json() | {"cpu": "Intel(R) Core(TM) i7-1165G7 CPU @ 2.80GHz"}).slug
    assert slug.startswith("intel-core-i7-1165g7-") and "/" not in slug and " " not in slug


def test_batches_are_kept_and_checked():
    device = Device.here(batches=[1, 8])
    assert device.batches == (1, 8) and device.to_json()["batches"] == [1, 8] and device.now().batches == (1, 8)
    assert Device.from_json({k: v for k, v in device.to_json().items() if k != "batches"}).batches == (1, 32)
    with pytest.raises(ValueError, match=r"batches must be whole numbers of at least 1, got \[0\]"):
        Device.here(batches=[0])
