// Compares the tables of integer kernels named on the command line with the portable ones: equal bits over odd sizes in
// all formats. TABLES, a macro, lists those that are linked: X(name) for each.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../Sources/CKernels/include/int8_kernels.h"

#define X(name) extern const el_int8_kernels el_int8_kernels_##name;
X(portable) TABLES
#undef X

static uint32_t state = 1;
static uint32_t bits(void) { return (state = state * 1664525u + 1013904223u) >> 8; }
static float number(void) { return (float)(int32_t)(bits() & 0xffff) / 32768.0f - 1; }
static void *memory(size_t bytes) {
  void *p = aligned_alloc(64, (bytes + 128) / 64 * 64);
  memset(p, 0x5a, (bytes + 128) / 64 * 64);
  return p;
}

static const char *const formats[] = {"f32", "f16", "bf16", "int8", "int4", "int4 groups of 32", "nf4", "nf4 nested"};

static el_matrix make_matrix(int format, size_t rows, size_t columns) {
  size_t count = rows * columns;
  float *scales = memory(count / 8 + 4 * rows), *codebook = memory(64), *nested = memory(1024), *absmax = memory(count / 8);
  for (size_t i = 0; i < count / 32 + rows; i++) scales[i] = number() * number() + 1.01f;
  for (int i = 0; i < 16; i++) codebook[i] = i == 7 ? 0 : (float)i / 7.5f - 1;
  for (int i = 0; i < 256; i++) nested[i] = number();
  for (size_t i = 0; i < count / 32; i++) absmax[i] = number() + 1.5f;
  el_matrix w = {.rows = rows, .columns = columns, .group = columns, .scales = scales, .codebook = codebook,
                 .nested_codebook = nested, .nested_absmax = absmax, .nested_group = 256, .nested_offset = 0.5f};
  uint8_t *data = memory(count * 4);
  for (size_t i = 0; i < count * 4; i++) data[i] = (uint8_t)bits();
  w.data = data;
  switch (format) {
    case 0:
      w.codes = EL_F32;
      for (size_t i = 0; i < count; i++) ((float *)data)[i] = number() * number();
      break;
    case 1:
      w.codes = EL_F16;
      for (size_t i = 0; i < count; i++) ((uint16_t *)data)[i] &= 0xbbff;
      break;
    case 2:
      w.codes = EL_BF16;
      for (size_t i = 0; i < count; i++) ((uint16_t *)data)[i] = (uint16_t)(0x3f00 | (bits() & 0x80ff));
      break;
    case 3:
      w.codes = EL_INT8;
      w.scale_type = EL_SCALE_F32;
      for (size_t i = 0; i < count; i++)
        if (data[i] == 0x80) data[i] = 0x81;
      break;
    case 4:
    case 5:
      w.codes = EL_INT4;
      w.scale_type = EL_SCALE_BF16;
      w.group = format == 4 && columns % 64 == 0 ? 64 : 32;
      for (size_t i = 0; i < count / w.group; i++) ((uint16_t *)scales)[i] = (uint16_t)(0x3c00 + (bits() & 0xff));
      break;
    default:
      w.codes = EL_NF4;
      w.scale_type = format == 6 ? EL_SCALE_F32 : EL_SCALE_NESTED;
      w.group = 64;
  }
  return w;
}

// Everything that a table computes for one shape, as one string of bytes.
typedef struct {
  char *bytes;
  size_t count;
} result;
static void put(result *r, const void *p, size_t bytes) {
  memcpy(r->bytes + r->count, p, bytes);
  r->count += bytes;
}

typedef struct {
  size_t rows, reduction, columns, block, first;
  int format, by_columns, accumulate;
} shape;

// Whether products in floats with the rows of a panel from row 32 are close to those of the exact values.
static char float_products_hold(const el_int8_kernels *t, const el_matrix *w, size_t block, const el_panel *panel) {
  if (t->float_products == NULL || block != 64) return 1;
  float *x = memory(3 * w->columns * 4), *line = memory(w->columns * 4), products[3 * EL_PANEL];
  for (size_t i = 0; i < 3 * w->columns; i++) x[i] = number();
  t->float_products(w, 32, panel, 3, x, products);
  char holds = 1;
  for (size_t row = 32; row < w->rows && row < 32 + EL_PANEL; row++) {
    t->decode_floats(w, row, 0, w->columns, line);
    for (size_t i = 0; i < 3; i++) {
      double sum = 0, size = 0;
      for (size_t k = 0; k < w->columns; k++) {
        double product = (double)x[i * w->columns + k] * (double)line[k];
        sum += product;
        size += product < 0 ? -product : product;
      }
      double error = sum - (double)products[i * EL_PANEL + row - 32];
      if ((error < 0 ? -error : error) > 1e-5 * size) holds = 0;
    }
  }
  free(x);
  free(line);
  return holds;
}

static void run(const el_int8_kernels *t, const el_matrix *w, const shape *s, const float *values, result *r) {
  size_t whole = s->by_columns ? (w->rows + s->block - 1) / s->block * s->block : s->reduction;
  size_t taken = s->by_columns ? w->rows : s->reduction;
  el_rows x = {s->rows, whole, s->block, s->by_columns ? EL_GRADIENT_LIMIT : EL_INPUT_LIMIT, memory(t->row_code_bytes(s->rows, whole, s->block)),
               memory(s->rows * whole / s->block * 4)};
  uint32_t *keep = memory(taken * 4);
  for (size_t i = 0; i < taken; i++) keep[i] = i % 19 == 7 ? 0 : UINT32_MAX;
  for (size_t i = 0; i < s->rows; i++) {
    const float *line = values + i * taken;
    if (!s->by_columns && !s->accumulate) t->quantize_input(&x, i, taken, line, values, keep);
    else t->quantize_row(&x, i, 0, taken, line, s->accumulate ? (uint32_t)(i * 77 + 1) : 0);
  }
  free(keep);
  put(r, x.scales, s->rows * whole / s->block * 4);
  float *statistics = memory(taken * 12), *y = memory(s->rows * 35 * 4), line[EL_PANEL];
  t->column_statistics(s->rows, taken, values, taken, statistics, statistics + taken, statistics + 2 * taken);
  put(r, statistics, taken * 12);
  el_panel panel = {memory(t->panel_code_bytes(s->reduction)), memory(s->reduction / s->block * 128)};
  if (s->by_columns) t->decode_columns(w, 32, s->first, s->reduction, s->block, &panel);
  else t->decode_rows(w, 32, s->block, &panel);
  for (size_t p = 0; p < s->reduction && !s->by_columns; p++) {
    t->panel_values(&panel, p, s->block, line);
    put(r, line, sizeof line);
  }
  if (!s->by_columns) {
    char holds = float_products_hold(t, w, s->block, &panel);
    put(r, &holds, 1);
  }
  for (size_t row = 0; row < s->rows; row += EL_ROW_GROUP) {
    for (size_t i = 0; i < s->rows * 35; i++) y[i] = (float)(i % 13) / 8;
    t->gemm(&x, row, s->rows - row, s->by_columns ? s->first : 0, s->reduction, &panel, y, 35, s->columns, s->accumulate);
    put(r, y, s->rows * 35 * 4);
  }
  if (!s->by_columns && s->rows <= EL_DOT_ROWS) {
    int32_t columns[3] = {0, 5, 31};
    el_exact_columns exact = {3, columns, values};
    memset(y, 0, s->rows * 35 * 4);
    t->dot_rows(w, 1, 33, &x, 0, s->rows, &exact, memory(t->dot_buffer_bytes(s->reduction, s->rows)), y, 35);
    put(r, y, s->rows * 35 * 4);
    t->decode_floats(w, 3, 0, s->reduction, statistics);
    t->decode_near(w, 3, 0, s->reduction, statistics + s->reduction);
    put(r, statistics, s->reduction * 8);
  }
}

static int compare(const el_int8_kernels *t) {
  static const size_t reductions[] = {64, 96, 192, 320, 1088, 2112}, heights[] = {1, 2, 3, 7, 8, 13, 17, 31, 52};
  static const size_t widths[] = {1, 7, 15, 16, 17, 31, 32};
  size_t count = 0, failures = 0;
  for (int format = 0; format < 8; format++)
    for (int by_columns = 0; by_columns < 2; by_columns++)
      for (size_t a = 0; a < sizeof reductions / sizeof *reductions; a++)
        for (size_t b = 0; b < sizeof heights / sizeof *heights; b++) {
          shape s = {.rows = heights[b], .reduction = reductions[a], .format = format, .by_columns = by_columns,
                     .columns = widths[(a * 5 + b) % 7], .accumulate = (int)((a + b) & 1)};
          s.block = by_columns || (s.reduction % 64 == 0 && format != 5) ? 64 : 32;
          if (by_columns && s.reduction % 64 != 0) continue;
          s.first = by_columns ? 64 * (b % 3) : 0;
          el_matrix w = by_columns ? make_matrix(format, s.first + s.reduction - 5, 96)
                                   : make_matrix(format, 37, s.reduction);
          if (format >= 6 && !by_columns && s.reduction % 64 != 0) s.block = 32;
          size_t taken = by_columns ? w.rows : s.reduction;
          float *values = memory(s.rows * taken * 4 + 64);
          for (size_t i = 0; i < s.rows * taken; i++) values[i] = i / taken == 3 ? 0 : number() * number();
          result expected = {memory(1 << 22), 0}, found = {memory(1 << 22), 0};
          run(&el_int8_kernels_portable, &w, &s, values, &expected);
          run(t, &w, &s, values, &found);
          count++;
          if (expected.count != found.count || memcmp(expected.bytes, found.bytes, found.count) != 0) {
            if (failures++ < 10)
              printf("%s: %s %s, %zu rows, reduction %zu, %zu columns differs\n", t->name, formats[format],
                     by_columns ? "by columns" : "by rows", s.rows, s.reduction, s.columns);
          }
          free(expected.bytes);
          free(found.bytes);
          free(values);
        }
  printf("%s: %zu shapes, %zu differ\n", t->name, count, failures);
  return failures > 0;
}

int main(void) {
  int failed = 0;
#define X(name) failed |= compare(&el_int8_kernels_##name);
  TABLES
  return failed;
}
