"""What `predict` does with input that does not fit: one line each, and the rest is answered. Needs no torch."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_bundles import errors, lines, notes, picture


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty, or its first line is; that names the columns: x0, x1, x2"),
        ("x0,x1,x2\n", "holds a header and no rows"),
        ("1,2,3\n4,5,6\n", "has no header: its first line must name the columns, x0, x1, x2"),
        ("x0,x1\n1,2\n", "column 'x2' is missing"),
        (
            "x0,x1,x2,label\n1,2,3,4\n",
            "column 'label' is not the model's; the header must name x0, x1, x2, and --ignore what else is there",
        ),
        ("x0,x1,y\n1,2,3\n", "column 'y' is not the model's and column 'x2' is missing"),
        ("x0,x1,x1,x2\n1,2,3,4\n", "column 'x1' stands twice"),
        ("x0;x1;x2\n1;2;3\n", "separated by semicolons; save it with commas"),
        ('x0,x1,x2\n1,"2,3\n', "line 2: is no CSV from here on: unexpected end of data"),
    ],
)
def test_a_csv_with_other_columns_is_one_line(ask, tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    result = ask("sum", "t.csv")
    (line,) = errors(result)
    assert (result.exit_code, result.stdout) == (1, "")
    assert line.startswith("t.csv: ")
    assert said in line


def test_columns_that_are_not_the_models_can_be_ignored_but_not_its_own(ask, tmp_path):
    (tmp_path / "t.csv").write_text("id,x0,label,x1,x2\na,0,7,0,1\n")
    result = ask("sum", "t.csv", "--format", "jsonl", "--ignore", "label", "--ignore", "id", "--ignore", "absent")
    assert (result.exit_code, [a["outputs"]["y"] for a in lines(result)]) == (0, [[100.0]])
    (line,) = errors(ask("sum", "t.csv", "--ignore", "label", "--ignore", "id", "--ignore", "x1"))
    assert line == "t.csv: column 'x1' is the model's own: it cannot be ignored"


def test_a_csv_that_is_no_text_a_folder_or_not_there(ask, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"x0,x1,x2\n\xff,1,2\n")
    assert errors(ask("sum", "t.csv")) == ["t.csv: is no UTF-8 text (invalid start byte); save it as UTF-8"]
    assert errors(ask("sum", "none.csv")) == ["none.csv: no such file"]
    (tmp_path / "d.csv").mkdir()
    assert errors(ask("sum", "d.csv")) == ["d.csv: is a folder; name a file"]


def test_a_bad_row_names_line_and_column_and_the_others_are_answered(ask, tmp_path):
    rows = ["0,0,1", "a,0,1", "1_0,0,1", ",0,1", "nan,0,1", "1e39,0,1", "1,2", "", "0,0,2"]
    (tmp_path / "t.csv").write_text("\n".join(["x0,x1,x2", *rows, ""]))
    result = ask("sum", "t.csv", "--format", "jsonl")
    assert result.exit_code == 1
    assert [(a["sample"], a["outputs"]["y"]) for a in lines(result)] == [(0, [100.0]), (8, [200.0])]
    assert sorted(errors(result)) == [
        "7 of 9 inputs could not be answered",
        "t.csv: line 3, column 'x0': 'a' is no number",
        "t.csv: line 4, column 'x0': '1_0' is no number",
        "t.csv: line 5, column 'x0': is empty",
        "t.csv: line 6, column 'x0': 'nan' is no finite float32",
        "t.csv: line 7, column 'x0': '1e39' is no finite float32",
        "t.csv: line 8 has 2 cells, the header names 3",
        "t.csv: line 9 is empty; leave it out",
    ]


@pytest.mark.parametrize("cell", ["0.5", "-1", "256"])
def test_pixels_that_no_image_stores(ask, tmp_path, cell):
    (tmp_path / "p.csv").write_text(f"pixel0,pixel1,pixel2,pixel3\n0,0,0,{cell}\n")
    why = "is no whole number from 0 to 255, as pixels are stored"
    assert errors(ask("spots", "p.csv")) == [f"p.csv: line 2, column 'pixel3': '{cell}' {why}"]


def test_values_outside_the_range_are_said_once_a_file(ask, tmp_path):
    (tmp_path / "t.csv").write_text("x0,x1,x2\n1,1,1\n999,1,1\n999,1,1\n")
    result = ask("sum", "t.csv", "--batch", "1")
    outside = [note for note in notes(result) if "outside its range" in note]
    assert outside == [
        "t.csv: lines 3 to 3: that gives the model 1 to 999, outside its range of -100 to 100; said once a file"
    ]


def test_bad_texts_are_named_by_line(ask, tmp_path):
    (tmp_path / "t.txt").write_text("a\n\nabz\nà\n", encoding="utf-8")
    result = ask("texts", "t.txt")
    assert result.stdout.splitlines() == ["t.txt[0]  a  counts 0 1", "t.txt[3]  à  counts 0 1  (read as a)"]
    empty, unknown, summary = errors(result)
    assert empty.startswith("t.txt: line 2: '': holds no letter")
    assert unknown == "t.txt: line 3: 'abz': 'z' is none of the 5 characters known: abc '"
    assert summary == "2 of 4 inputs could not be answered"
    (tmp_path / "e.txt").write_text("")
    assert errors(ask("texts", "e.txt")) == ["e.txt: is empty; give at least one text, one a line"]
    assert errors(ask("texts", "none.txt")) == ["none.txt: no such file"]
    assert errors(ask("texts", "à", "--strict")) == [
        "'à': does not fit as it is and would be read as a; --strict refuses that"
    ]


def test_a_folder_of_the_name_of_a_text_is_said(ask, tmp_path):
    (tmp_path / "abc").mkdir()
    assert notes(ask("texts", "abc")) == ["abc: taken as a text, although a folder of that name lies here"]


def test_a_folder_without_images_or_for_another_model(ask, tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    assert errors(ask("spots", "d")) == ["d: holds no image; skipped: 1 folder (--recursive reads them)"]
    assert errors(ask("spots", "d/e")) == ["d/e: holds no image"]
    (line,) = errors(ask("sum", "d"))
    assert line == "d: is a folder, and this model takes no one-channel images but x ('batch', 3)"


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (lambda: Image.new("L", (4, 3)), "resized from 4×3 to 2×2"),
        (lambda: Image.new("L", (2, 2), 255), "inverted, since its border is bright"),
        (lambda: Image.new("RGB", (2, 2)), "converted from RGB to grey"),
        (lambda: Image.new("P", (2, 2)), "converted from P to grey"),
        (lambda: Image.fromarray(np.full((2, 2), 25700, np.uint16)), "converted from 16 to 8 bits"),
    ],
)
def test_what_was_done_to_an_image_is_noted_or_refused(ask, tmp_path, make, note):
    make().save(tmp_path / "i.png")
    (answer,) = json.loads(ask("spots", "i.png", "--json").stdout)
    assert answer["note"].startswith(note)
    result = ask("spots", "i.png", "--strict")
    assert (result.exit_code, result.stdout) == (1, "")
    assert errors(result)[0].startswith(f"i.png: does not fit as it is and would be {note}")


def test_strict_takes_what_fits(ask, tmp_path):
    picture(tmp_path / "i.png", 255, 0, 0, 0)
    assert ask("spots", "i.png", "--strict").stdout == "i.png  left  0.9647\n"


def test_sixteen_bits_become_eight(tmp_path):
    from serve_bench._images import image_as_stored

    Image.fromarray(np.uint16([[0, 257], [25700, 128]])).save(tmp_path / "i.png")
    assert image_as_stored(tmp_path / "i.png", 2, 2)[0].tolist() == [[0, 1], [100, 0]]


def test_a_photo_is_turned_upright_and_an_animation_gives_its_first_picture(tmp_path):
    from serve_bench._images import image_as_stored

    image, exif = Image.fromarray(np.uint8([[255, 0], [0, 0]])), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    # Orientation 6: to be turned a quarter clockwise, so that the upper left becomes the upper right.
    pixels, note = image_as_stored(tmp_path / "turned.png", 2, 2)
    assert (pixels.tolist(), note) == ([[0, 255], [0, 0]], "turned upright as its EXIF data say")
    image.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("L", (2, 2))])
    pixels, note = image_as_stored(tmp_path / "moving.gif", 2, 2)
    assert pixels.tolist() == [[255, 0], [0, 0]]
    assert note.startswith("taken from the first of its 2 pictures")


def test_no_image_and_a_decompression_bomb_do_not_stop_the_others(ask, tmp_path, monkeypatch):
    picture(tmp_path / "good.png", 255, 0, 0, 0)
    (tmp_path / "none.png").write_text("no image")
    Image.new("L", (60, 60)).save(tmp_path / "warned.png")
    Image.new("L", (90, 90)).save(tmp_path / "refused.png")
    Image.new("F", (2, 2)).save(tmp_path / "floats.tiff")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    names = ["none.png", "warned.png", "refused.png", "floats.tiff", "good.png"]
    result = ask("spots", *names)
    assert (result.exit_code, result.stdout) == (1, "good.png  left  0.9647\n")
    said = errors(result)
    assert said[0].startswith("none.png: no readable image: cannot identify image file")
    assert all("perhaps a decompression bomb; make it smaller first" in line for line in said[1:3])
    assert said[3].startswith("floats.tiff: holds numbers of no known range (mode F)")
    assert said[4:] == ["4 of 5 inputs could not be answered"]


def test_numbers_are_one_sample_where_no_file_has_their_name(ask, tmp_path):
    result = ask("sum", "1,2,3", "--json")
    (answer,) = json.loads(result.stdout)
    assert (answer["source"], answer["outputs"]) == ("1,2,3", {"y": [321.0]})
    assert "1,2: " in errors(ask("sum", "1,2"))[0]
    assert "1,2,nan: " in errors(ask("sum", "1,2,nan"))[0]
    assert errors(ask("sum", "")) == ["an input is empty; name a file"]
    (tmp_path / "1,2,3").write_bytes(b"no array")
    assert errors(ask("sum", "1,2,3")) != []


def test_a_text_longer_than_was_verified_is_refused_even_where_no_file_can_have_its_name(ask):
    (line,) = errors(ask("texts", "a" * 5000))
    assert "has 5000 letters; the model was verified for at most" in line
