// Integer kernels in plain C: the specification of all others. Rows and panels are int8 codes, [rows][columns] and
// [k][32].
#include <math.h>
#include <string.h>

#include "../include/int8_kernels.h"

#define FN(name) name##_portable
#define KERNEL_NAME "portable"

static void FN(unpack)(size_t n, const uint8_t *packed, const int8_t table[16], int high_first, int8_t *codes) {
  int first = high_first ? 4 : 0;
  for (size_t i = 0; i < n / 2; i++) {
    codes[2 * i] = table[(packed[i] >> first) & 15];
    codes[2 * i + 1] = table[(packed[i] >> (4 - first)) & 15];
  }
}

#include "values.inc"

static size_t FN(row_code_bytes)(size_t rows, size_t columns, size_t block) {
  (void)block;
  return rows * columns;
}

static size_t FN(panel_code_bytes)(size_t k) { return k * EL_PANEL; }

INLINE void FN(put_codes)(const el_rows *x, size_t row, size_t first, size_t n, const int8_t *codes) {
  memcpy((int8_t *)x->codes + row * x->columns + first, codes, n);
}

INLINE void FN(get_codes)(const el_rows *x, size_t row, int8_t *codes) {
  memcpy(codes, (const int8_t *)x->codes + row * x->columns, x->columns);
}

// The panel's elements [first, first + n) from row-major codes, one row for each of its columns.
INLINE void FN(pack_rows)(size_t first, size_t n, const int8_t *tile, size_t ld, void *panel) {
  int8_t *codes = (int8_t *)panel + first * EL_PANEL;
  for (size_t p = 0; p < n; p++)
    for (size_t j = 0; j < EL_PANEL; j++) codes[p * EL_PANEL + j] = tile[j * ld + p];
}

// The panel's elements [first, first + n) from values [n][32], rounded after a multiplication.
INLINE void FN(pack_columns)(size_t first, size_t n, const float *tile, const float *inverse, void *panel) {
  int8_t *codes = (int8_t *)panel + first * EL_PANEL;
  for (size_t p = 0; p < n; p++)
    for (size_t j = 0; j < EL_PANEL; j++)
      codes[p * EL_PANEL + j] = (int8_t)FN(nearest)(tile[p * EL_PANEL + j] * inverse[j]);
}

// The same from words [n][32], times factor / 2^15.
INLINE void FN(pack_words)(size_t first, size_t n, const int16_t *words, const int16_t *factors, void *panel) {
  int8_t *codes = (int8_t *)panel + first * EL_PANEL;
  for (size_t p = 0; p < n; p++)
    for (size_t j = 0; j < EL_PANEL; j++)
      codes[p * EL_PANEL + j] = (int8_t)FN(scaled)(words[p * EL_PANEL + j], factors[j]);
}

INLINE int32_t FN(panel_code)(const void *panel, size_t p, size_t j) {
  return ((const int8_t *)panel)[p * EL_PANEL + j];
}

static void FN(gemm)(const el_rows *x, size_t row, size_t m, size_t first, size_t k, const el_panel *panel, float *y,
                     size_t ldy, size_t columns, int accumulate) {
  size_t block = x->block;
  for (size_t i = 0; i < m; i++) {
    const int8_t *codes = (const int8_t *)x->codes + (row + i) * x->columns + first, *w = (const int8_t *)panel->codes;
    const float *scales = x->scales + ((row + i) * x->columns + first) / block;
    float out[EL_PANEL] = {0};
    if (accumulate) memcpy(out, y + i * ldy, columns * sizeof(float));
    for (size_t b = 0; b * block < k; b++) {
      int32_t s[EL_PANEL] = {0};
      for (size_t p = b * block; p < (b + 1) * block; p++)
        for (size_t j = 0; j < EL_PANEL; j++) s[j] += (int32_t)codes[p] * w[p * EL_PANEL + j];
      for (size_t j = 0; j < EL_PANEL; j++)
        out[j] = fmaf((float)s[j] * panel->scales[b * EL_PANEL + j], scales[b], out[j]);
    }
    memcpy(y + i * ldy, out, columns * sizeof(float));
  }
}

#include "table.inc"
