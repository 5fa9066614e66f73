"""Files that are slow or large by design: read at once where lines are alike, in little memory, or refused by a limit."""

import io
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import textured_box
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io import ears, limits, obj_reader, obj_tables, pictures, ply_elements, polygons, stl
from lift123.pipelines.io.glb_reader import read_glb
from lift123.pipelines.io.mesh_notes import Notes
from lift123.pipelines.io.obj_reader import read_obj
from lift123.pipelines.io.polygons import triangulate
from lift123.pipelines.io.stl import read_stl
from PIL import Image


def seconds(work) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


# Polygons

@pytest.mark.parametrize("corners, count", [(5, 300), (6, 60), (9, 30), (17, 12)])
def test_polygons_cut_together_are_cut_as_alone(corners, count):
    draw = np.random.default_rng(corners)
    shapes = draw.random((count, corners, 3))
    shapes[::2] = np.round(shapes[::2] * 2) / 2  # corners that meet, edges that fold back
    assert (ears.cut_together(shapes) == np.stack([ears.cut(shape) for shape in shapes])).all()


def test_many_folded_pentagons_take_no_time():
    points = np.random.default_rng(0).random((100_000, 3))
    notes = Notes()
    assert seconds(lambda: triangulate(points, np.arange(100_000), np.full(20_000, 5), "x", notes)) < 2
    assert not notes.lines  # 60,000 of them are within the budget


def test_a_mixture_of_sizes_ends_too(monkeypatch):
    """Two polygons of each size are not cut in step: each step counts."""
    monkeypatch.setattr(polygons, "EARS", 2_000_000)
    sizes = np.repeat(np.arange(60, 140), 2)
    points, notes = np.random.default_rng(0).random((int(sizes.sum()), 3)), Notes()
    assert seconds(lambda: triangulate(points, np.arange(len(points)), sizes, "x", notes)) < 2
    assert "too many corners" in notes.lines[0]


# PLY

def uneven(rows: int, draw) -> tuple[bytes, list]:
    body, told = b"", []
    for _ in range(rows):
        n, m = draw.randrange(3, 6), draw.randrange(0, 4)
        corners, more = [draw.randrange(99) for _ in range(n)], [draw.random() for _ in range(m)]
        told.append((0.5, corners, -3, more, 7))
        body += struct.pack(f">fB{n}ihH{m}db", 0.5, n, *corners, -3, m, *more, 7)
    head = (f"ply\nformat binary_big_endian 1.0\nelement face {rows}\nproperty float q\nproperty list uchar int vertex_indices\n"
            "property short a\nproperty list ushort double texcoord\nproperty char z\nend_header\n")
    return head.encode() + body, told


def test_lists_of_unequal_lengths(monkeypatch):
    monkeypatch.setattr(ply_elements, "_AT_ONCE", 16)
    data, told = uneven(60, random.Random(0))
    face = ply_elements.read_elements(data, ("vertex_indices", "texcoord"))[0]["face"]
    q, corners, a, more, z = zip(*told, strict=True)
    assert [face.columns[k].tolist() for k in "qaz"] == [list(q), list(a), list(z)]
    for name, expected in (("vertex_indices", corners), ("texcoord", more)):
        assert face.lists[name].sizes.tolist() == [len(x) for x in expected]
        assert face.lists[name].values.tolist() == [value for x in expected for value in x]
    with pytest.raises(InputError, match="behind"):
        ply_elements.read_elements(data[:-1], ())


def test_many_lists_take_no_time():
    lists = "".join(f"property list uchar int {name}\n" for name in ("vertex_indices", *"abcdefghi"))
    row = b"".join(struct.pack(f"<B{n}i", n, *range(n)) for n in (3, 2, 1, 0, 1, 2, 1, 1, 1, 1))
    data = b"ply\nformat binary_little_endian 1.0\nelement face %d\n" + lists.encode() + b"end_header\n"
    assert seconds(lambda: ply_elements.read_elements(data % 40_000 + (row + b"\0" * 10) * 20_000, ("vertex_indices",))) < 1.5
    with pytest.raises(InputError, match="at most 6,000,000 lists of unequal lengths"):
        ply_elements.read_elements(data % 700_000 + (row + b"\0" * 10), ())


# OBJ and STL

def some_obj(draw) -> str:
    lines, count, uvs = [], draw.choice((40, 80)), draw.choice((0, 40))
    for _ in range(draw.choice((1, 2))):
        colors = draw.random() < 0.4
        for _ in range(count):
            lines.append("v " + " ".join(f"{draw.random():.5f}" for _ in range(6 if colors and draw.random() < 0.99 else 3)))
            lines += ["# a remark"] * (draw.random() < 0.02)
        lines += [f"vt {draw.random():.4f} {draw.random():.4f}" for _ in range(uvs)] + ["vn 0 0 1"] * 5
        style = draw.choice(("{0}", "{0}/{1}", "{0}//1", "{0}/{1}/1", "")) if uvs else draw.choice(("{0}", "{0}//1"))
        for _ in range(draw.choice((5, 100))):
            each = style or draw.choice(("{0}", "{0}/{1}", "{0}//1", "{0}/{1}/1"))
            corners = [each.format(draw.choice((-1, 1)) * draw.randrange(1, count + 1), draw.randrange(1, uvs + 1) if uvs else "")
                       for _ in range(draw.choice((3, 3, 4, 5)))]
            lines.append("f " + " ".join(corners) + " " * draw.choice((0, 0, 1)))
            lines += [f"usemtl m{draw.randrange(3)}"] * (draw.random() < 0.02)
    if draw.random() < 0.4:
        lines[draw.randrange(len(lines))] = draw.choice((
            "f 1 2", "v 1 2", "f 1 2 9999", "f 0 1 2", "l 1 2", "f 1 2 x", "vt", "v 1 2 3#c", "f 1/1 2 3", "f 1.5 2 3",
            "f 1-2 2 3", "vt1 2 3", "f 1/2 3/4/5 6", "v 1 2 \u0663", "f 1/ 2/ 3/", "v nan 0 0", "f\t1 2 3", " f 1 2 3"))
    return "\n".join(lines)


def result(text: str):
    notes = Notes()
    try:
        mesh = read_obj(text.encode(), notes)
    except InputError as error:
        return str(error)
    return [None if part is None else part.tolist() for part in vars(mesh).values()], notes.lines


def test_lines_read_at_once_mean_what_they_mean_alone(monkeypatch):
    texts = [some_obj(random.Random(seed)) for seed in range(60)]
    fast = [result(text) for text in texts]
    assert sum(isinstance(found, str) for found in fast) > 5
    monkeypatch.setattr(obj_reader, "_RUN", 1 << 40)
    assert [result(text) for text in texts] == fast


def test_text_of_many_lines_takes_no_time(monkeypatch):
    numbers = np.random.default_rng(0).random((40_000, 3)).tolist()
    text = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in numbers)
    text += "".join(f"f {k}/{k} {k + 1}/{k + 1} {k + 2}/{k + 2}\n" for k in range(1, 39_000)).replace("/", "//")
    assert seconds(lambda: read_obj(text.encode())) < 1.5
    corners = "".join(f"vertex {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in numbers[:39_999])
    assert seconds(lambda: read_stl(f"solid facet\n{corners}endsolid".encode())) < 1.0
    assert read_stl(b"solid a\nfacet\n" + b"vertex 1 2 3\n" * 3).vertices.tolist() == [[1, 2, 3]]
    for name, limit in (("LINES", "at most 9 lines"), ("TEXT_BYTES", "at most 9 bytes of text"),
                        ("VERTICES", "at most 9 vertices"), ("FACES", "at most 9 faces")):
        with monkeypatch.context() as patch:
            patch.setattr(obj_reader, name, 9)
            with pytest.raises(InputError, match=limit):
                read_obj(text.encode())
    monkeypatch.setattr(stl, "TEXT_BYTES", 9)
    with pytest.raises(InputError, match="at most 9 bytes of text"):
        read_stl(b"solid facet\n" + corners.encode())
    monkeypatch.setattr(ply_elements, "TEXT_BYTES", 9)
    with pytest.raises(InputError, match="at most 9 bytes of text"):
        ply_elements.read_elements(b"ply\nformat ascii 1.0\nend_header\n" + b"1 " * 9, ())


def test_a_table_of_rows_of_all_widths():
    table = obj_tables.Table()
    table.add(np.ones((2, 3)))
    table.append([1.0, 2, 3, 4])
    table.append([5.0])
    assert len(table) == 4 and (table.narrowest, table.widest) == (1, 4)
    assert table.whole(4).tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 2, 3, 4], [5, 0, 0, 0]]


# GLB and pictures

def test_many_parts_take_no_time():
    tiny = textured_box()
    tiny.gltf |= {"nodes": [{"mesh": 0}] * 2000, "scenes": [{"nodes": list(range(2000))}]}
    assert seconds(lambda: read_glb(tiny.packed())) < 1.5
    tiny = textured_box()
    tiny.gltf["meshes"][0]["primitives"] *= 2000
    assert seconds(lambda: read_glb(tiny.packed())) < 1.5


def kinds():
    draw = np.random.default_rng(0)
    colors, gray = draw.integers(0, 256, (37, 29, 4)).astype(np.uint8), draw.integers(0, 65536, (37, 29)).astype(np.uint16)
    rgb = Image.fromarray(colors[..., :3])
    return {"RGB": rgb, "RGBA": Image.fromarray(colors), "L": rgb.convert("L"), "P": rgb.quantize(9), "1": rgb.convert("1"),
            "I;16": Image.fromarray(gray), "CMYK": rgb.convert("CMYK"), "F": Image.fromarray(draw.random((37, 29)).astype("f4")),
            "F of light": Image.fromarray((draw.random((37, 29)) * 900).astype("f4"))}


@pytest.mark.parametrize("kind", kinds())
def test_pictures_are_decoded_in_bands(kind, monkeypatch):
    stream = io.BytesIO()
    kinds()[kind].save(stream, "TIFF" if kind[0] in "FC" else "PNG")
    whole = pictures.read_picture(stream.getvalue(), formats=pictures.OBJ_FORMATS)
    assert whole.shape == (37, 29, 3) and 0 <= float(whole.min()) and float(whole.max()) <= 1
    monkeypatch.setattr(pictures, "_BAND", 100)
    assert torch.equal(pictures.read_picture(stream.getvalue(), formats=pictures.OBJ_FORMATS), whole)
    if kind == "RGB":
        assert torch.equal((whole * 255).round().to(torch.uint8), torch.from_numpy(np.array(kinds()[kind])))


def test_a_large_gray_picture_is_kept_once(monkeypatch):
    stream = io.BytesIO()
    Image.new("I;16", (1024, 1024)).save(stream, "PNG", compress_level=1)
    monkeypatch.setattr(pictures, "_BAND", 1 << 14)
    tracemalloc.start()
    picture = pictures.read_picture(stream.getvalue())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * picture.numel() * 4


def test_limits_are_the_ones_that_are_documented():
    assert (limits.TEXT_BYTES, limits.LINES) == (1 << 29, 20_000_000)
