// The integer core: frozen weights are decoded on the fly into int8 panels and multiplied with int8 rows, block-scaled
// along the reduction dimension. No allocation, no threads. Every instruction set gives the same bits.
#ifndef EDGELORA_INT8_KERNELS_H
#define EDGELORA_INT8_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// Output columns of one panel: two 512-bit, four 256-bit or eight 128-bit vectors of int32.
#define EL_PANEL 32
// Instruction sets may interleave so many quantised rows: a product starts at a multiple of it.
#define EL_ROW_GROUP 8
// Largest codes of rows: of a product's input and of its output's gradient. Two products of the second with unsigned bytes
// fit 16 bits, which is how AVX2 multiplies fastest. Gradients can spare the bit: their rounding differs from token to
// token, and the sums over tokens average it away.
#define EL_INPUT_LIMIT 127
#define EL_GRADIENT_LIMIT 64
// Most rows that dot_rows takes, and most exact columns.
#define EL_DOT_ROWS 8
#define EL_EXACT 16

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

// Rows in 8 bits. block is 32 or 64, columns a multiple of it.
typedef struct {
  size_t rows, columns, block;
  int32_t limit;  // EL_INPUT_LIMIT, for panels of decode_rows, or EL_GRADIENT_LIMIT, for panels of decode_columns
  void *codes;    // row_code_bytes(rows, columns, block) bytes, aligned to 64; the layout is the instruction set's own
  float *scales;  // [rows][columns / block]
} el_rows;

// One panel: 32 output columns and k reduction elements.
typedef struct {
  void *codes;    // panel_code_bytes(k) bytes, aligned to 64; the layout is the instruction set's own
  float *scales;  // [k / block][32]
} el_panel;

// scale * x w, of few products and in floats, that joins a product in 8 bits.
typedef struct {
  size_t count;
  float scale;
  const float *x;  // [rows][count], `ldx` apart; the first row is the product's first
  size_t ldx;
  const float *w;  // [count][columns], `ldw` apart
  size_t ldw;
} el_term;

// A few columns of some rows that stay floats.
typedef struct {
  size_t count;
  const int32_t *columns;  // [count], or [rows][count] where each row has its own
  const float *values;     // [rows][count]
  int are_own;
} el_exact_columns;

typedef struct {
  const char *name;

  // Sizes of the two private layouts.
  size_t (*row_code_bytes)(size_t rows, size_t columns, size_t block);
  size_t (*panel_code_bytes)(size_t k);

  // Quantises k values as elements of row `row` of x from `first`, a multiple of the block; the rest of their last block is
  // zero: scale = absmax / limit, code = round to nearest even of value / scale. With dither (not 0) the rounding is
  // stochastic, reproducibly: each element's threshold comes from dither and its index in the row.
  void (*quantize_row)(const el_rows *x, size_t row, size_t first, size_t k, const float *values, uint32_t dither);

  // The same of a whole row, without dither, of values - mean where keep is all ones, and of 0 where it is none; each [k].
  void (*quantize_input)(const el_rows *x, size_t row, size_t k, const float *values, const float *mean,
                         const uint32_t *keep);

  // Sum, least and largest of x[i][j] over i < m, for each j < k.
  void (*column_statistics)(size_t m, size_t k, const float *x, size_t ldx, float *sum, float *lowest, float *highest);

  // y[i][j] = (accumulate ? y[i][j] : 0) + sum_b sx[i][b] * sw[b][j] * sum_{p in b} x[i][p] w[p][j], j < columns, for the
  // m rows of x from `row`, a multiple of EL_ROW_GROUP, and the k elements from `first`, both multiples of the block; the
  // panel's reduction starts at `first`. y is the output of row `row`. Per block the integer sum is exact; it is
  // converted, multiplied by sw and joined by one fused multiply-add with sx, blocks upwards: the same floats everywhere.
  void (*gemm)(const el_rows *x, size_t row, size_t m, size_t first, size_t k, const el_panel *panel, float *y,
               size_t ldy, size_t columns, int accumulate);

  // The same with terms in front of the blocks, each y = y + scale * sum_c x[i][c] * w[c][j] with c upwards; row is any.
  // Null where there are no registers for it.
  void (*gemm_adding)(const el_rows *x, size_t row, size_t m, size_t first, size_t k, const el_panel *panel, float *y,
                      size_t ldy, size_t columns, int accumulate, const el_term *terms, size_t term_count);

  // Panel of the rows [row, row + 32) of W (missing ones are zero), reduction over W's columns.
  void (*decode_rows)(const el_matrix *w, size_t row, size_t block, const el_panel *panel);

  // Panel of the columns [column, column + 32) of W, reduction over the rows [row, row + k): k is a multiple of block,
  // rows beyond the end are zero. Each column of a block has the scale of its largest value; 4-bit codes get there in 16
  // bits, as shares of the block's largest scale.
  void (*decode_columns)(const el_matrix *w, size_t column, size_t row, size_t k, size_t block, const el_panel *panel);

  // The 32 values of a panel of decode_rows at reduction element p.
  void (*panel_values)(const el_panel *panel, size_t p, size_t block, float values[EL_PANEL]);

  // Exact values of the elements [column, column + n) of one row; column and n are multiples of 32.
  void (*decode_floats)(const el_matrix *w, size_t row, size_t column, size_t n, float *values);
  // The same, NF4's values rounded to 16 bits of their block's largest, which is faster.
  void (*decode_near)(const el_matrix *w, size_t row, size_t column, size_t n, float *values);

  // products[i][r] = x[i] . W[row + r], r < EL_PANEL, in floats: codes stand for their exact values, and panel has their
  // scales, as decode_rows leaves them for these rows and blocks of 64. x is [m][columns]. Products of missing rows mean
  // nothing. Null where decode_near and a product of floats are as fast.
  void (*float_products)(const el_matrix *w, size_t row, const el_panel *panel, size_t m, const float *x, float *products);

  // y[i * ldy + r] = x[i] . W[row + r], r < count, for the m <= EL_DOT_ROWS rows of x from `first`: products of few
  // tokens. Weights in f32, f16 and bf16 meet x's dequantised values; the others stay integers. exact, whose values
  // start at row `first` and whose codes in x are zero, is added. x's block is the matrix's. buffer:
  // dot_buffer_bytes(columns, m), aligned to 64.
  void (*dot_rows)(const el_matrix *w, size_t row, size_t count, const el_rows *x, size_t first, size_t m,
                   const el_exact_columns *exact, void *buffer, float *y, size_t ldy);
  size_t (*dot_buffer_bytes)(size_t columns, size_t m);
} el_int8_kernels;

// The table for "portable", "sse42", "avx2", "avxvnni", "avx512vnni", "neon", "dotprod", "i8mm"; null if this machine cannot
// run it.
const el_int8_kernels *el_int8_kernels_named(const char *name);
// The names that exist in this build, null-terminated, slowest first.
const char *const *el_int8_kernel_names(void);

#endif
