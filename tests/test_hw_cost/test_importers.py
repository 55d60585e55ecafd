"""Published formats, by lines of the kinds that they have."""

import json
import os
from pathlib import Path

import pytest

from hw_cost import LatencyTable, TableError
from hw_cost.importers import import_tables

BLOCK = "expanded_conv-input:10x10x8-output:5x5x16-expand:48-kernel:5-stride:2-idskip:0-se:1-hs:0"
PUBLISHED = Path(os.environ.get("METAML_DATA", "nowhere")) / "latency"


@pytest.fixture
def write(tmp_path):
    def write(content: object, name: str = "table.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_a_block_of_ofa_with_its_flops(write):
    path = write({BLOCK: {"count": 100, "mean": 0.5, "std": 0.1}})
    (row,) = import_tables([path], "Phone").table.rows
    assert row.kernel.op == "MBConv:k5:s2:se"
    # expand 2*8*48*100, depthwise 2*48*25*25, project 2*48*16*25
    assert row.kernel.sizes["flops"] == 76_800 + 60_000 + 38_400
    assert (row.latency_us, row.blocks) == (500, 100)
    assert row.high_us == pytest.approx(500 + 1.96 * 100 / 10)


def test_proxylessnas_tells_variances_and_ratios_in_yaml(write):
    text = f"{BLOCK.replace('48', '6')}:\n  count: 4\n  mean: 2.0\n  var: 0.04\n"
    (row,) = import_tables([write(text, "p.yaml")], "Phone").table.rows
    assert row.kernel.sizes["flops"] == 175_200
    assert row.low_us == pytest.approx(2000 - 1.96 * 200 / 2)


def test_single_path_names_layers_and_choices(write):
    rows = import_tables([write({"3": {"0": 1.0, "3": 2.0}})], "Pixel").table.rows
    assert [row.kernel.op for row in rows] == ["SinglePath:layer3:k3:e3", "SinglePath:layer3:k5:e6"]


def test_fasterseg_reads_shapes_from_names(write):
    text = "key,ms\nConvNorm_H4_W8_Cin2_Cout3_kernel1_stride2,0.25\n"
    (row,) = import_tables([write(text, "f.csv")], "GPU").table.rows
    assert (row.kernel.op, row.kernel.sizes["flops"]) == ("ConvNorm:k1:s2", 2 * 2 * 3 * 8)


def test_tinynas_failures_are_dropped_with_the_reason(write):
    head = "type,batch,cin,h,w,cout,kernel,stride,fused,ms\n"
    lines = "Regular,1,3,4,4,8,3,1,1,0.5\nDepthwise,2,8,4,4,8,3,2,0,0.1\nRegular,1,3,4,4,8,3,1,0,-1\n"
    imported = import_tables([write(head + lines, "conv_int8.csv")], "V100")
    assert imported.dropped == {"failed on the device (-1)": ["Regular,1,3,4,4,8,3,1,0"]}
    assert imported.table.device.precision == "int8"
    ops = {row.kernel.op: row.kernel.sizes["flops"] for row in imported.table.rows}
    assert ops == {"RegularConv:k3:s1:fused": 2 * 9 * 3 * 8 * 16, "DepthwiseConv:k3:s2": 2 * 9 * 8 * 2 * 4}


def test_entries_of_another_device_are_found(write):
    mine = {
        BLOCK: {"count": 80, "mean": 0.5, "std": 0.1},
        "Logits-input:1x1x8-output:10": {"count": 499, "mean": 0.7, "std": 0.1},
        "Logits-input:2x2x8-output:10": {"count": 500, "mean": 0.9, "std": 0.1},  # copied from a table not at hand
    }
    other = {"Logits-input:1x1x8-output:10": {"count": 499, "mean": 0.7, "std": 0.1}}
    imported = import_tables([write(mine)], "Board", others=[write(other, "other.json")])
    assert [row.kernel.op for row in imported.table.rows] == ["MBConv:k5:s2:se"]
    assert [len(keys) for keys in imported.dropped.values()] == [1, 1]


def test_entries_of_one_kernel_become_one_row(write):
    blocks = {BLOCK: {"count": 4, "mean": 1.0, "std": 0.0}, BLOCK + "-x:1": {"count": 4, "mean": 3.0, "std": 0.0}}
    imported = import_tables([write(blocks)], "Phone")
    assert (imported.merged, imported.table.rows[0].latency_us) == (1, 2000)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("whatever", "none of the published formats"),
        ('{"expanded_conv-input:10x10x8', "is damaged"),
        ('{"Conv-input:2x2x3-output:2x2x3": {"count": 3}}', "is damaged.*mean"),
        ("key,ms\nConvNorm_H1_W1_Cin1_Cout1_kernel1_stride1,-1\n", "no entry that can be used: 1 failed"),
        ("key,ms\n", "it is empty"),
    ],
)
def test_files_that_are_no_tables_are_refused(content, said, write):
    with pytest.raises(TableError, match=said):
        import_tables([write(content)], "x")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="METAML_DATA does not point to published latencies")
@pytest.mark.parametrize(
    ("folder", "pattern", "read"),
    [
        ("ofa_note10", "ofa*", 480),
        ("proxyless_pixel", "*.yaml", 72),
        ("singlepath_pixel1", "*.json", 88),
        ("fasterseg_1080ti", "*.csv", 667),
    ],
)
def test_published_files_come_through_the_file_format(folder, pattern, read, tmp_path):
    imported = import_tables(sorted((PUBLISHED / folder).glob(pattern)), folder)
    imported.table.save(tmp_path / "table.json")
    table = LatencyTable.load(tmp_path / "table.json")
    assert imported.read == read == len(table.rows) + imported.merged
    assert all(table.kernel_cost(row.kernel).latency_us > 0 for row in table.rows)
