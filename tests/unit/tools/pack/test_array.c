/* SPDX-License-Identifier: MIT */
/* NumPy arrays and raw files: malformed ones, one flaw each, and the values of all the good ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "format/bytes.h"
#include "format/directory.h"
#include "tests/support/fixture.h"
#include "tools/pack/array.h"
#include "tools/pack/element.h"
#include "tools/pack/limits.h"

#define D(descr, order, shape) \
	"{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }\n"

static const struct flaw {
	const char *header;
	uint64_t data_bytes;
	const char *element; /* NULL: refused with GW_E_SOURCE */
	const char *part;    /* of the message, or of the shape */
} flaws[] = {
	/* none */
	{ D("<f4", "False", "(2, 3)"), 24, "F32", "[2, 3]" },
	{ D("<f2", "False", "(2, 3)"), 12, "F16", "[2, 3]" },
	{ D("<f8", "True", "(2, 3)"), 48, "F64", "[2, 3]" },
	{ D(">f4", "True", "(2, 3,)"), 24, "F32", "[2, 3]" },
	{ D("<f4", "False", "(6,)"), 24, "F32", "[6]" },
	{ D("<f4", "False", "()"), 4, "F32", "[]" },
	{ D("<f4", "True", "(0, 3)"), 0, "F32", "[0, 3]" },
	{ D("<f4", "True", "(2, 1, 1, 1, 1, 1, 1, 3)"), 24, "F32", "[2, 1, 1, 1, 1, 1, 1, 3]" },
	{ D("|i1", "False", "(2, 3)"), 6, "I8", "[2, 3]" },
	{ D("<i1", "False", "(2, 3)"), 6, "I8", "[2, 3]" },
	{ D("|u1", "False", "(2, 3)"), 6, "U8", "[2, 3]" },
	{ D("|b1", "False", "(2, 3)"), 6, "BOOL", "[2, 3]" },
	{ D("<i8", "False", "(2, 3)"), 48, "I64", "[2, 3]" },
	{ D(">u4", "False", "(2, 3)"), 24, "U32", "[2, 3]" },
	{ D("<c8", "False", "(2, 3)"), 48, "C64", "[2, 3]" },
	{ D("<c16", "False", "(2, 3)"), 96, "other", "[2, 3]" },
	{ D("|S5", "False", "(2,)"), 10, "other", "[2]" },
	{ D("<U5", "False", "(2,)"), 40, "other", "[2]" },
	{ D("|O", "False", "(2,)"), 77, "other", "[2]" },
	{ D("<M8[ns]", "False", "(2,)"), 16, "other", "[2]" },
	{ "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}\n", 8, "other", "[]" },
	{ "{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<f4\"}\n", 8, "F32", "[2]" },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}      \n", 8, "F32", "[2]" },

	/* types */
	{ D("=f4", "False", "(2, 3)"), 24, NULL, "does not begin with" },
	{ D("f4", "False", "(2, 3)"), 24, NULL, "does not begin with" },
	{ D("", "False", "(2, 3)"), 24, NULL, "does not begin with" },
	{ D("<", "False", "(2, 3)"), 24, NULL, "does not begin with" },
	{ D("|f4", "False", "(2, 3)"), 24, NULL, "no byte order" },
	{ D("|i2", "False", "(2, 3)"), 12, NULL, "no byte order" },
	{ D("\x1b[2J", "False", "(2, 3)"), 24, NULL, "\"\\x1b[2J\"" },
	{ "{'descr': '<f4\\x00', 'fortran_order': False, 'shape': (2,)}\n", 8, NULL, "escape" },
	{ "{'descr': 4, 'fortran_order': False, 'shape': (2,)}\n", 8, NULL, "no string" },
	{ "{'descr': '<f4, 'fortran_order': False, 'shape': (2,)}\n", 8, NULL, "no comma" },
	{ "{'descr': '<f4}\n", 8, NULL, "without end" },

	/* sizes */
	{ D("<f4", "False", "(2, 3)"), 23, NULL, "23 bytes after the header" },
	{ D("<f4", "False", "(2, 3)"), 25, NULL, "25 bytes after the header" },
	{ D("<f4", "False", "(2, 3)"), 0, NULL, "instead of the 24" },
	{ D("<f4", "True", "(2, 3)"), 28, NULL, "28 bytes" },
	{ D("<f4", "False", "(0, 3)"), 4, NULL, "4 bytes after" },
	{ D("<f8", "False", "(2, 3)"), 24, NULL, "instead of the 48" },
	{ D("<f4", "False", "(4294967296, 4294967296)"), 0, NULL, "does not fit 64 bits" },
	{ D("<f4", "False", "(4611686018427387904,)"), 0, NULL, "does not fit 64 bits" },
	{ D("<f4", "False", "(18446744073709551616,)"), 0, NULL, "beyond 2^64" },
	{ D("<f4", "False", "(18446744073709551615, 0)"), 0, NULL, "does not fit 64 bits" },

	/* shapes */
	{ D("<f4", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"), 4, NULL, "9 dimensions" },
	{ D("<f4", "False", "(-2, 3)"), 24, NULL, "no dimension" },
	{ D("<f4", "False", "(2.0, 3)"), 24, NULL, "no comma" },
	{ D("<f4", "False", "(2L, 3L)"), 24, NULL, "no comma" },
	{ D("<f4", "False", "(2, , 3)"), 24, NULL, "no dimension" },
	{ D("<f4", "False", "(2 3)"), 24, NULL, "no comma" },
	{ D("<f4", "False", "[2, 3]"), 24, NULL, "no shape" },
	{ D("<f4", "False", "(6)"), 24, NULL, "a number instead of a shape" },
	{ D("<f4", "False", "6"), 24, NULL, "no shape" },
	{ D("<f4", "False", "(2, 3"), 24, NULL, "no dimension" },
	{ D("<f4", "False", "((2, 3))"), 24, NULL, "no dimension" },

	/* the order */
	{ D("<f4", "1", "(2, 3)"), 24, NULL, "neither True nor False" },
	{ D("<f4", "'True'", "(2, 3)"), 24, NULL, "neither True nor False" },
	{ D("<f4", "Truely", "(2, 3)"), 24, NULL, "no comma" },

	/* the dictionary */
	{ "", 24, NULL, "no dictionary" },
	{ "()\n", 24, NULL, "no dictionary" },
	{ "{}\n", 24, NULL, "missing" },
	{ "{'descr': '<f4', 'fortran_order': False}\n", 24, NULL, "missing" },
	{ "{'shape': (2, 3), 'fortran_order': False}\n", 24, NULL, "missing" },
	{ "{'shape': (2, 3), 'descr': '<f4'}\n", 24, NULL, "missing" },
	{ "{'shape': (2, 3), 'shape': (2, 3)}\n", 24, NULL, "a key twice" },
	{ "{'shape': (2, 3), 'x': 1}\n", 24, NULL, "an unknown key" },
	{ "{shape: (2, 3)}\n", 24, NULL, "no string" },
	{ "{'shape' (2, 3)}\n", 24, NULL, "no colon" },
	{ "{'descr': '<f4' 'fortran_order': False}\n", 24, NULL, "no comma" },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 24, NULL, "newline" },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}\n\n", 24, NULL, "newline" },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}#\n", 24, NULL, "newline" },
};

static char *folder;

static void setup(void)
{
	folder = fixture_folder_new();
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

/* A .npy file of that version, header and data; free() ends it. */
static uint8_t *make_npy(unsigned major, const char *header, const void *data, size_t data_bytes,
			 size_t *out_bytes)
{
	size_t n = strlen(header), at = major == 1 ? 10 : 12;
	uint8_t *file = calloc(1, at + n + data_bytes);

	memcpy(file, "\x93NUMPY", 6);
	file[6] = (uint8_t)major;
	file[8] = (uint8_t)n;
	file[9] = (uint8_t)(n >> 8);
	memcpy(file + at, header, n);
	if (data)
		memcpy(file + at + n, data, data_bytes);
	*out_bytes = at + n + data_bytes;
	return file;
}

static const char *write_npy(const char *name, const char *header, const void *data, size_t n)
{
	const char *path = fixture_path(folder, name);
	size_t bytes;
	uint8_t *file = make_npy(1, header, data, n, &bytes);

	fixture_write(path, file, bytes);
	free(file);
	return path;
}

static int open_code(const char *path, uint64_t n_embd, struct gw_error *error)
{
	struct pack_source *source = NULL;
	int code = pack_source_open_all(&path, 1, n_embd, &source, error);

	ck_assert_int_eq(code == GW_OK, source != NULL);
	pack_source_free(source);
	return code;
}

START_TEST(flaw_is_refused)
{
	const struct flaw *flaw = &flaws[_i];
	struct gw_error error = GW_ERROR_INIT;
	char shape[PACK_SHAPE_TEXT_BYTES];
	size_t bytes;

	for (unsigned major = 1; major <= 3; major++) {
		const char *path = fixture_path(folder, "a.npy");
		uint8_t *file = make_npy(major, flaw->header, NULL, flaw->data_bytes, &bytes);
		struct pack_source *source = NULL;

		fixture_write(path, file, bytes);
		free(file);
		ck_assert_code(error, pack_source_open(path, &source, &error),
			       flaw->element ? GW_OK : GW_E_SOURCE);
		if (flaw->element) {
			const struct pack_tensor *tensor = &source->tensors.items[0];

			ck_assert_str_eq(source->format, "npy");
			ck_assert_str_eq(tensor->name, "a");
			ck_assert_ptr_null(tensor->canonical);
			ck_assert_str_eq(pack_element_name(tensor->element), flaw->element);
			ck_assert_str_eq(pack_shape_text(tensor->rank, tensor->shape, shape),
					 flaw->part);
			ck_assert_uint_eq(tensor->size_bytes, flaw->data_bytes);
		} else {
			ck_assert_msg(strstr(error.message, flaw->part) != NULL,
				      "\"%s\" lacks \"%s\"", error.message, flaw->part);
			ck_assert_msg(strstr(error.message, "a.npy: ") == error.message, "%s",
				      error.message);
		}
		pack_source_free(source);
	}
}
END_TEST

START_TEST(preamble)
{
	static const char header[] = D("<f4", "False", "(1, 1)");
	struct gw_error error = GW_ERROR_INIT;
	size_t bytes;
	uint8_t *file = make_npy(1, header, "abcd", 4, &bytes);
	const char *path = fixture_path(folder, "a.npy");

	/* every length but the whole */
	for (size_t n = 6; n < bytes; n++) {
		fixture_write(path, file, n);
		ck_assert_code(error, open_code(path, 0, &error), GW_E_SOURCE);
	}
	fixture_write(path, file, bytes);
	ck_assert_code(error, open_code(path, 0, &error), GW_OK);
	for (unsigned major = 0; major < 256; major++) {
		if (major >= 1 && major <= 3)
			continue;
		file[6] = (uint8_t)major;
		fixture_write(path, file, bytes);
		ck_assert_code(error, open_code(path, 0, &error), GW_E_SOURCE);
		ck_assert_ptr_nonnull(strstr(error.message, "1.0, 2.0 and 3.0 are known"));
	}
	file[6] = 1;
	file[7] = 1;
	fixture_write(path, file, bytes);
	ck_assert_code(error, open_code(path, 0, &error), GW_E_SOURCE);
	ck_assert_ptr_nonnull(strstr(error.message, "version 1.1"));
	file[6] = 2;
	file[7] = 0;
	memset(file + 8, 0xff, 4);
	fixture_write(path, file, bytes);
	ck_assert_code(error, open_code(path, 0, &error), GW_E_SOURCE);
	ck_assert_ptr_nonnull(strstr(error.message, "header of 4294967295 bytes"));
	free(file);
	ck_assert_int_eq(pack_array_parse((const uint8_t *)"\x93NUMPX", 6, 6, NULL, &error),
			 GW_E_SOURCE);
}
END_TEST

/* Element i of an array of that width: the low bytes of a scrambled i. */
static void put(uint8_t *out, uint64_t i, unsigned width, bool big)
{
	uint64_t value = i * UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned k = 0; k < width; k++)
		out[big ? width - 1 - k : k] = (uint8_t)(value >> 8 * k);
}

/* Place in a column-major file of the element that is number i in C order. */
static uint64_t fortran_place(uint64_t i, unsigned rank, const uint64_t *shape)
{
	uint64_t index[GW_MAX_RANK], place = 0;

	for (unsigned k = rank; k-- > 0; i /= shape[k])
		index[k] = i % shape[k];
	for (unsigned k = rank; k-- > 0;)
		place = place * shape[k] + index[k];
	return place;
}

static const struct {
	char letter;
	unsigned width, rank;
	uint64_t shape[4];
} arrays[] = {
	{ 'f', 4, 2, { 5, 3 } },
	{ 'f', 2, 2, { 7, 64 } },
	{ 'f', 8, 2, { 31, 9 } },
	{ 'i', 1, 2, { 5, 3 } },
	{ 'f', 4, 1, { 9 } },
	{ 'f', 4, 0, { 0 } },
	{ 'f', 4, 2, { 1, 9 } },
	{ 'f', 4, 2, { 9, 1 } },
	{ 'f', 2, 3, { 4, 3, 5 } },
	{ 'f', 4, 4, { 3, 4, 5, 6 } },
	{ 'f', 4, 4, { 1, 4, 1, 6 } },
	/* more than a window for a column, and more than one band */
	{ 'f', 4, 2, { 140000, 3 } },
	{ 'f', 8, 2, { 70000, 61 } },
	{ 'f', 2, 2, { 20, 700000 } },
};

START_TEST(values)
{
	const uint64_t *shape = arrays[_i].shape;
	unsigned width = arrays[_i].width, rank = arrays[_i].rank;
	uint64_t n = 1, step;
	uint8_t *data, *want, *got;
	char text[PACK_SHAPE_TEXT_BYTES] = "", header[256];
	struct gw_error error = GW_ERROR_INIT;

	for (unsigned i = 0; i < rank; i++) {
		n *= shape[i];
		sprintf(text + strlen(text), "%lu,", (unsigned long)shape[i]);
	}
	data = malloc(n * width);
	want = malloc(n * width);
	got = malloc(n * width);
	for (unsigned kind = 0; kind < 4; kind++) {
		bool big = kind & 1, fortran = kind & 2;
		struct pack_source *source = NULL;
		const struct pack_tensor *tensor;
		const char *path;

		for (uint64_t i = 0; i < n; i++) {
			put(want + i * width, i, width, false);
			put(data + (fortran ? fortran_place(i, rank, shape) : i) * width, i, width,
			    big);
		}
		sprintf(header, "{'descr': '%c%c%u', 'fortran_order': %s, 'shape': (%s)}\n",
			big ? '>' : '<', arrays[_i].letter, width, fortran ? "True" : "False",
			text);
		path = write_npy("wte.npy", header, data, n * width);
		ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
		tensor = &source->tensors.items[0];
		ck_assert_str_eq(tensor->canonical, GW_WTE_NAME);
		ck_assert_int_eq(tensor->encoded,
				 (big && width > 1) ||
					 (fortran && strchr(text, ',') != strrchr(text, ',') &&
					  n != shape[0] && n != shape[1]));
		/* in pieces that are no whole rows */
		step = n > 100000 ? 65536 : 7;
		for (uint64_t at = 0; at < n; at += step)
			ck_assert_code(error,
				       pack_source_read(source, tensor, at * width,
							(n - at < step ? n - at : step) * width,
							got + at * width, &error),
				       GW_OK);
		ck_assert_mem_eq(got, want, n * width);
		/* and again from the middle */
		ck_assert_code(error,
			       pack_source_read(source, tensor, n / 2 * width, (n - n / 2) * width,
						got, &error),
			       GW_OK);
		ck_assert_mem_eq(got, want + n / 2 * width, (n - n / 2) * width);
		pack_source_free(source);
	}
	free(data);
	free(want);
	free(got);
}
END_TEST

/* A sparse file: nothing is gathered of rows that are too long for it. */
START_TEST(long_rows)
{
	struct pack_array array = {
		.element = pack_element_find("F32"),
		.width_bytes = 4,
		.is_fortran = true,
		.rank = 2,
		.shape = { 1000, 1000000 },
		.data_bytes = UINT64_C(4000000000),
	};
	struct pack_transpose *transpose = NULL;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t out[4];

	ck_assert_code(error,
		       pack_transpose_read(&transpose, &array, NULL, NULL, 0, 4, out, &error),
		       GW_E_SOURCE);
	ck_assert_ptr_nonnull(strstr(error.message, "ascontiguousarray"));
	ck_assert_ptr_null(transpose);
}
END_TEST

START_TEST(shortened_while_read)
{
	static const char header[] = D("<f4", "True", "(2, 3)");
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	const char *path = write_npy("wte.npy", header, NULL, 24);
	uint8_t out[24];

	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	fixture_write(path, "x", 1);
	ck_assert_code(error,
		       pack_source_read(source, &source->tensors.items[0], 0, 24, out, &error),
		       GW_E_CHANGED);
	pack_source_free(source);
}
END_TEST

/* An archive of one member, wte.npy, deflated as a stored block (RFC 1951, 3.2.4). */
static size_t make_npz(const uint8_t *npy, uint16_t n, uint8_t *out)
{
	struct gw_bytes window = gw_bytes_write(out, 1024);
	uint32_t crc = (uint32_t)crc32(0, npy, n);
	uint64_t data = 30 + 7, directory = data + 5 + n, end = directory + 46 + 7;

	memset(out, 0, 1024);
	gw_put_u32(&window, 0, 0x04034b50);
	gw_put_u32(&window, directory, 0x02014b50);
	/* from the method on, both headers are alike up to the length of the name */
	for (uint64_t at = 8; at <= directory + 10; at += directory + 2) {
		gw_put_u16(&window, at, 8);
		gw_put_u32(&window, at + 6, crc);
		gw_put_u32(&window, at + 10, n + 5U);
		gw_put_u32(&window, at + 14, n);
		gw_put_u16(&window, at + 18, 7);
	}
	gw_put_bytes(&window, 30, "wte.npy", 7);
	gw_put_bytes(&window, directory + 46, "wte.npy", 7);
	gw_put_u8(&window, data, 1);
	gw_put_u16(&window, data + 1, n);
	gw_put_u16(&window, data + 3, (uint16_t)~n);
	gw_put_bytes(&window, data + 5, npy, n);
	gw_put_u32(&window, end, 0x06054b50);
	gw_put_u16(&window, end + 8, 1);
	gw_put_u16(&window, end + 10, 1);
	gw_put_u32(&window, end + 12, (uint32_t)(end - directory));
	gw_put_u32(&window, end + 16, (uint32_t)directory);
	return end + 22;
}

START_TEST(deflated_and_shortened)
{
	static const char header[] = D("<f4", "False", "(2, 3)");
	static const char letters[] = "abcdefghijklmnopqrstuvwx";
	const char *path = fixture_path(folder, "in.npz");
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	uint8_t file[1024], out[24];
	size_t bytes;
	uint8_t *npy = make_npy(1, header, letters, 24, &bytes);

	fixture_write(path, file, make_npz(npy, (uint16_t)bytes, file));
	free(npy);
	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	for (uint64_t at = 24; at > 0; at -= 8) { /* each begins anew */
		ck_assert_code(error,
			       pack_source_read(source, &source->tensors.items[0], at - 8, 8, out,
						&error),
			       GW_OK);
		ck_assert_mem_eq(out, &letters[at - 8], 8);
	}
	fixture_write(path, "x", 1);
	ck_assert_code(error,
		       pack_source_read(source, &source->tensors.items[0], 0, 24, out, &error),
		       GW_E_CHANGED);
	pack_source_free(source);
}
END_TEST

START_TEST(raw)
{
	const char *path = fixture_path(folder, "transformer.wte.weight.f32");
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;

	fixture_write(path, "GGUFabcdefghijklmnopqrst", 24);
	ck_assert_code(error, open_code(path, 0, &error), GW_E_ARGUMENT);
	ck_assert_ptr_nonnull(strstr(error.message, "--embd N"));
	ck_assert_code(error, open_code(path, 4, &error), GW_E_SOURCE);
	ck_assert_ptr_nonnull(strstr(error.message, "24 bytes"));
	ck_assert_uint_eq(error.offset, 16);
	ck_assert_code(error, open_code(path, 7, &error), GW_E_SOURCE);
	ck_assert_code(error, open_code(path, GW_MAX_N_EMBD, &error), GW_E_SOURCE);
	ck_assert_code(error, pack_source_open_all(&path, 1, 3, &source, &error), GW_OK);
	ck_assert_str_eq(source->format, "raw");
	ck_assert_str_eq(source->tensors.items[0].name, "transformer.wte.weight");
	ck_assert_uint_eq(source->tensors.items[0].shape[0], 2);
	ck_assert_uint_eq(source->tensors.items[0].shape[1], 3);
	ck_assert_uint_eq(source->tensors.items[0].offset_bytes, 0);
	pack_source_free(source);
	fixture_write(path, "", 0);
	ck_assert_code(error, open_code(path, 3, &error), GW_E_SOURCE);
}
END_TEST

START_TEST(stems)
{
	static const struct {
		const char *name, *stem, *canonical;
	} names[] = {
		{ "wte.npy", "wte", GW_WTE_NAME },
		{ "wpe.f32", "wpe", GW_WPE_NAME },
		{ "wte", "wte", GW_WTE_NAME },
		{ "wte.weight.npy", "wte.weight", NULL },
		{ ".npy", ".npy", NULL },
		{ "a\xff"
		  "b\n.npy",
		  "a?b?", NULL },
	};
	char stem[PACK_STEM_BYTES];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct pack_file file = { .name = (char *)(uintptr_t)names[i].name, .fd = -1 };

		pack_file_stem(&file, stem);
		ck_assert_str_eq(stem, names[i].stem);
		if (names[i].canonical)
			ck_assert_str_eq(pack_array_canonical(stem), names[i].canonical);
		else
			ck_assert_ptr_null(pack_array_canonical(stem));
	}
	ck_assert_str_eq(pack_array_canonical("model/wpe"), GW_WPE_NAME);
	ck_assert_str_eq(pack_array_canonical("transformer/wte/embedding"), GW_WTE_NAME);
}
END_TEST

START_TEST(several)
{
	const char *paths[3] = { fixture_path(folder, "wte.npy"), fixture_path(folder, "wpe.f32"),
				 fixture_path(folder, "x.npy") };
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	uint8_t out[24];

	write_npy("wte.npy", D(">f4", "True", "(2, 3)"), "0---1---2---3---4---5---", 24);
	fixture_write(paths[1], "abcdefghijkl", 12);
	write_npy("x.npy", D("<f4", "False", "(1,)"), "xxxx", 4);
	ck_assert_code(error, pack_source_open_all(paths, 3, 3, &source, &error), GW_OK);
	ck_assert_str_eq(source->format, "several");
	ck_assert_str_eq(pack_source_name(source), "wte.npy");
	ck_assert_uint_eq(source->n_files, 3);
	ck_assert_uint_eq(source->tensors.n, 3);
	ck_assert_uint_eq(source->tensors.items[2].file, 2);
	ck_assert_code(error,
		       pack_source_read(source, &source->tensors.items[0], 0, 24, out, &error),
		       GW_OK);
	ck_assert_mem_eq(out, "---0---2---4---1---3---5", 24);
	ck_assert_code(error,
		       pack_source_read(source, &source->tensors.items[1], 4, 8, out, &error),
		       GW_OK);
	ck_assert_mem_eq(out, "efghijkl", 8);
	pack_source_free(source);

	source = NULL;
	ck_assert_code(error, pack_source_open_all(paths, 2, 0, &source, &error), GW_E_ARGUMENT);
	ck_assert_ptr_nonnull(strstr(error.message, "wpe.f32"));
	fixture_write(paths[1], "not one", 7);
	ck_assert_code(error, pack_source_open_all(paths, 3, 3, &source, &error), GW_E_SOURCE);
	paths[1] = paths[0];
	ck_assert_code(error, pack_source_open_all(paths, 3, 3, &source, &error),
		       GW_E_SOURCE_TABLES);
	ck_assert_ptr_nonnull(strstr(error.message, "tensor \"wte\": wte.npy and wte.npy"));
	paths[1] = "/dev/zero";
	ck_assert_code(error, pack_source_open_all(paths, 3, 3, &source, &error), GW_E_NOT_FILE);
	paths[1] = fixture_path(folder, "nothing");
	ck_assert_code(error, pack_source_open_all(paths, 3, 3, &source, &error), GW_E_IO);
	paths[1] = folder;
	ck_assert_code(error, pack_source_open_all(paths, 3, 3, &source, &error),
		       GW_E_SOURCE_KIND);
	ck_assert_msg(strncmp(error.message, folder, 8) == 0, "%s", error.message);
	ck_assert_ptr_null(source);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("array");
	TCase *array = fixture_case(suite, "array");

	tcase_add_checked_fixture(array, setup, teardown);
	tcase_add_loop_test(array, flaw_is_refused, 0, sizeof flaws / sizeof flaws[0]);
	tcase_add_test(array, preamble);
	tcase_add_loop_test(array, values, 0, sizeof arrays / sizeof arrays[0]);
	tcase_add_test(array, long_rows);
	tcase_add_test(array, shortened_while_read);
	tcase_add_test(array, deflated_and_shortened);
	tcase_add_test(array, raw);
	tcase_add_test(array, stems);
	tcase_add_test(array, several);
	return fixture_main(suite);
}
