// The integer core: frozen weights are decoded on the fly into int8 panels and multiplied with int8 rows, block-scaled
// along the reduction dimension. No allocation, no threads. Every instruction set gives the same bits.
#ifndef EDGELORA_INT8_KERNELS_H
#define EDGELORA_INT8_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// Output columns of one panel: two 512-bit, four 256-bit or eight 128-bit vectors of int32.
#define EL_PANEL 32

typedef enum { EL_F32, EL_F16, EL_BF16, EL_INT8, EL_INT4, EL_NF4 } el_codes;
typedef enum { EL_SCALE_NONE, EL_SCALE_F32, EL_SCALE_F16, EL_SCALE_BF16, EL_SCALE_NESTED } el_scale_type;

// A stored matrix W [rows, columns], row-major; a view of mapped memory. columns is a multiple of 32.
typedef struct {
  el_codes codes;
  el_scale_type scale_type;
  size_t rows, columns;
  const void *data;
  // Scale number i belongs to the flat elements [i * group, (i + 1) * group). group is columns for one scale per row.
  const void *scales;
  size_t group;
  // NF4: value of each code, 16 of them.
  const float *codebook;
  // Nested scales (double quantisation): scale i = nested_codebook[scales[i]] * nested_absmax[i / nested_group] + offset.
  const float *nested_codebook;
  const float *nested_absmax;
  size_t nested_group;
  float nested_offset;
} el_matrix;

// One panel of 32 output columns and k reduction elements.
typedef struct {
  int8_t *codes;   // [k / 4][32][4], |code| <= 127
  float *scales;   // [k / block][32]
  int32_t *sums;   // [k / block][32]: 128 times the sum of the block's codes
} el_panel;

typedef struct {
  const char *name;

  // Quantises a row in blocks: scale = absmax / 127, code = round to nearest even of x / scale. With dither (not 0) the
  // rounding is stochastic, reproducibly: each element's threshold comes from dither and its index. Codes are padded
  // with zeros to whole blocks.
  void (*quantize_row)(size_t k, size_t block, const float *x, uint32_t dither, int8_t *codes, float *scales);

  // largest[j] = max_i |x[i][j]|, i < m, j < k.
  void (*column_absmax)(size_t m, size_t k, const float *x, size_t ldx, float *largest);

  // y[i][j] = (accumulate ? y[i][j] : 0) + sum_b sx[i][b] * sw[b][j] * sum_{p in b} x[i][p] w[p][j], i < m, j < columns.
  // x: m rows of k codes; k is a multiple of block, block of 32. The sum over blocks runs upwards with one fused
  // multiply-add each, so every instruction set gives the same floats.
  void (*gemm)(size_t m, size_t k, size_t block, const int8_t *x, size_t ldx, const float *sx, size_t ldsx,
               const el_panel *panel, float *y, size_t ldy, size_t columns, int accumulate);

  // Codes to int8 through a table: element 2i is the high nibble of byte i if high_first, else the low one.
  void (*unpack)(size_t n, const uint8_t *packed, const int8_t table[16], int high_first, int8_t *codes);

  // Panel of the rows [row, row + 32) of W (missing ones are zero), reduction over W's columns. buffer: columns floats.
  void (*decode_rows)(const el_matrix *w, size_t row, size_t block, float *buffer, const el_panel *panel);

  // Panel of the columns [column, column + 32) of W, reduction over the rows [row, row + k): k is a multiple of block,
  // rows beyond the end are zero.
  void (*decode_columns)(const el_matrix *w, size_t column, size_t row, size_t k, size_t block, const el_panel *panel);

  // Exact values of the elements [column, column + n) of one row; column and n are multiples of 32.
  void (*decode_floats)(const el_matrix *w, size_t row, size_t column, size_t n, float *values);

  // sum_b sx[b] sw[b] sum_{p in b} x[p] w[p] for `count` rows of W from `row`: products of few tokens. buffer: columns
  // floats.
  void (*dot_rows)(const el_matrix *w, size_t row, size_t count, size_t block, const int8_t *x, const float *sx,
                   float *buffer, float *y);
} el_int8_kernels;

// The table for "portable", "avx2", "avx512vnni", "neon", "dotprod"; null if this machine cannot run it.
const el_int8_kernels *el_int8_kernels_named(const char *name);
// The names that exist in this build, null-terminated, slowest first.
const char *const *el_int8_kernel_names(void);

#endif
