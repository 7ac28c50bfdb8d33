"""Examples as tensors."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mlexpert.data.encode import encode_images, encode_table, encode_targets, encode_texts
from mlexpert.data.images import Images
from mlexpert.data.schema import Categorical, Numeric, Schema
from mlexpert.data.tokenizer import count_tokens, train_tokenizer
from mlexpert.errors import InputError

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 256, (7, 12, 10, 3), dtype=np.uint8)


def encoded(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def sources() -> list[Images]:
    return [Images.from_array(STACK), Images.from_items([encoded(image) for image in STACK])]


@pytest.mark.parametrize("source", sources(), ids=["stack", "items"])
def test_images_of_their_own_size_are_unchanged(source):
    tensor = encode_images(source, size=(12, 10), channels=3)
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1), STACK)


def test_a_stack_is_not_copied():
    stack = STACK.copy()
    tensor = encode_images(Images.from_array(stack), size=(12, 10), channels=3)
    stack[0, 0, 0, 0] ^= 255
    assert tensor[0, 0, 0, 0] == stack[0, 0, 0, 0]


def test_a_read_only_stack_is_encoded_without_a_warning():
    stack = STACK.copy()
    stack.flags.writeable = False
    assert torch.equal(
        encode_images(Images.from_array(stack), size=(12, 10), channels=3),
        encode_images(Images.from_array(STACK), size=(12, 10), channels=3),
    )
    backwards = encode_images(Images.from_array(STACK[::-1]), size=(12, 10), channels=3)
    np.testing.assert_array_equal(backwards.permute(0, 2, 3, 1), STACK[::-1])


@pytest.mark.parametrize("source", sources(), ids=["stack", "items"])
@pytest.mark.parametrize("size", [(6, 5), (24, 30), (1, 1)])
def test_other_sizes_are_resized_as_pillow_does(source, size):
    tensor = encode_images(source, size=size, channels=3)
    for image, row in zip(STACK, tensor, strict=True):
        expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(row.permute(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize("source", sources(), ids=["stack", "items"])
def test_channels_are_matched(source):
    grey = encode_images(source, size=(12, 10), channels=1)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in STACK])
    np.testing.assert_array_equal(grey[:, 0], expected)
    repeated = encode_images(Images.from_array(expected), size=(12, 10), channels=3)
    assert repeated.shape == (7, 3, 12, 10)
    assert all(torch.equal(repeated[:, c], grey[:, 0]) for c in range(3))


def test_floats_stay_floats():
    floats = (STACK / 255.0).astype(np.float32)
    tensor = encode_images(Images.from_array(floats), size=(12, 10), channels=3)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1), floats)
    small = encode_images(Images.from_array(floats), size=(6, 5), channels=3)
    bytes_ = encode_images(Images.from_array(STACK), size=(6, 5), channels=3)
    assert (small * 255 - bytes_).abs().max() <= 1.01
    assert 0 <= small.min() <= small.max() <= 1


def test_mixed_images_share_one_size():
    items = [STACK[0], STACK[1, :5], STACK[2, :, :, 0], Image.fromarray(STACK[3]).convert("P")]
    tensor = encode_images(Images.from_items(items), size=(8, 8), channels=3)
    assert tensor.shape == (4, 3, 8, 8)
    assert torch.equal(tensor[2, 0], tensor[2, 2])


def test_a_selection_is_encoded_in_its_order():
    for source in sources():
        tensor = encode_images(source[np.array([4, 0, 4])], size=(12, 10), channels=3)
        np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1), STACK[[4, 0, 4]])


def test_sizes_that_cannot_be_made_are_refused():
    for size, channels in [((0, 3), 3), ((3, 3), 2)]:
        with pytest.raises(InputError, match="cannot be made"):
            encode_images(Images.from_array(STACK), size=size, channels=channels)


def test_real_images_decode_to_the_pixels_of_the_file(real_data):
    from mlexpert.data.intake import read

    rows = np.arange(0, 10_000, 997)
    examples = read(real_data / "mnist_test.parquet")["all"]
    tensor = encode_images(examples.inputs[rows], size=(28, 28), channels=1)
    frame = pd.read_parquet(real_data / "mnist_test.parquet").iloc[rows]
    expected = [np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in frame["image"]]
    np.testing.assert_array_equal(tensor[:, 0], np.stack(expected))
    assert examples.targets[rows].tolist() == frame["label"].tolist()


# --- tables

COLUMNS = (
    Categorical("job", ("clerk", "smith"), 0.1),
    Numeric("age", 0.0, 0.0, 1.0, (0.0, 1.0)),
)


def test_a_table_becomes_numbers_and_codes():
    frame = pd.DataFrame({"age": [1.5, None, 3], "job": ["smith", None, "pilot"], "extra": 0})
    tensor = encode_table(frame, COLUMNS)
    assert tensor.dtype == torch.float32
    assert tensor[:, 0].tolist() == [3.0, 0.0, 1.0]
    assert tensor[0, 1] == 1.5
    assert tensor[1, 1].isnan()
    assert encode_table(frame.head(0), COLUMNS).shape == (0, 2)


def test_codes_agree_with_a_reference_encoder():
    from sklearn.preprocessing import OrdinalEncoder

    values = pd.Series(RNG.choice(["a", "b", "c", "d"], 200), dtype="str")
    column = Categorical("c", ("c", "a", "d"), 0.0)
    encoder = OrdinalEncoder(
        categories=[list(column.categories)], handle_unknown="use_encoded_value", unknown_value=-1
    )
    encoder.fit([["a"], ["c"], ["d"]])
    expected = encoder.transform(values.to_numpy(object)[:, None])[:, 0] + 2
    actual = encode_table(values.to_frame("c"), [column])[:, 0].numpy()
    np.testing.assert_array_equal(actual, expected)


def test_a_column_without_categories_is_unseen_or_missing():
    frame = pd.DataFrame({"c": pd.Series(["x", None], dtype="str")})
    assert encode_table(frame, [Categorical("c", (), 1.0)])[:, 0].tolist() == [1, 0]


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="'job' are missing; columns: 'age'"):
        encode_table(pd.DataFrame({"age": [1.0]}), COLUMNS)


# --- texts

TEXTS = ["The cat sat on the mat.", "the dog sat!", "", "A ﬁne CAT, a fine dog"] * 5


def test_token_ids_start_with_the_start_token_and_give_the_text_back():
    from tokenizers import Tokenizer

    text, size = train_tokenizer(TEXTS)
    tokenizer = Tokenizer.from_str(text)
    assert [tokenizer.token_to_id(t) for t in ("[PAD]", "[UNK]", "[CLS]")] == [0, 1, 2]
    assert size == tokenizer.get_vocab_size()
    ids, offsets = encode_texts(TEXTS, text, 50)
    assert ids.dtype == torch.int32
    assert offsets.dtype == torch.int64
    assert len(offsets) == len(TEXTS) + 1
    assert offsets[-1] == len(ids)
    for i in range(4):
        row = ids[offsets[i] : offsets[i + 1]].tolist()
        assert row[0] == 2
        assert row == tokenizer.encode(TEXTS[i]).ids
    letters = "".join(tokenizer.id_to_token(t) for t in ids[offsets[3] + 1 : offsets[4]].tolist())
    assert letters == "afinecat,afinedog"
    np.testing.assert_array_equal(offsets.diff(), count_tokens(TEXTS, text))
    assert count_tokens(TEXTS, text)[2] == 1


def test_long_texts_are_cut_at_their_end():
    text, _ = train_tokenizer(TEXTS)
    whole, starts = encode_texts(TEXTS, text, 99)
    ids, offsets = encode_texts(TEXTS, text, 3)
    assert offsets.diff().tolist() == [min(3, n) for n in starts.diff().tolist()]
    assert ids[:3].tolist() == whole[:3].tolist()
    with pytest.raises(InputError, match="at least 1 token"):
        encode_texts(TEXTS, text, 0)


def test_no_texts_are_no_tokens():
    ids, offsets = encode_texts([], train_tokenizer(TEXTS)[0], 4)
    assert ids.shape == (0,)
    assert offsets.tolist() == [0]


def test_characters_never_seen_are_unknown():
    text, _ = train_tokenizer(TEXTS)
    ids, _ = encode_texts(["the 漢 cat"], text, 9)
    assert ids.tolist().count(1) == 1


def test_the_same_texts_give_the_same_tokenizer(real_data):
    texts = pd.read_parquet(real_data / "sms_spam.parquet")["text"].tolist()
    first, size = train_tokenizer(texts)
    assert first == train_tokenizer(texts)[0]
    assert 4_000 < size <= 8_000
    # Rare words fall apart into pieces, common ones stay whole.
    assert len(encode_texts(["free call"], first, 9)[0]) == 3


# --- targets


def schema(*classes) -> Schema:
    return Schema("tabular", classes, tuple(map(str, classes)), (1,) * len(classes))


@pytest.mark.parametrize(
    ("classes", "targets"),
    [
        (("a", "b", "c"), np.array(["c", "a", "c"], dtype=object)),
        ((-1, 1, 5), np.array([5, -1, 5])),
        ((False, True), np.array([True, False, True])),
        ((1.0, 2.0), np.array([2.0, 1.0, 2.0])),
        ((1, 2), np.array([2.0, 1.0, 2.0])),
    ],
)
def test_targets_become_indices(classes, targets):
    indices = encode_targets(targets, schema(*classes))
    assert indices.dtype == torch.int64
    assert [classes[k] for k in indices.tolist()] == targets.tolist()


def test_labels_unknown_to_training_are_named():
    with pytest.raises(InputError, match="'z' are not among the classes of training: 'a', 'b'"):
        encode_targets(np.array(["a", "z"], dtype=object), schema("a", "b"))
    with pytest.raises(InputError, match="'1' are not among"):
        encode_targets(np.array([0, 1]), schema("0", "1"))
