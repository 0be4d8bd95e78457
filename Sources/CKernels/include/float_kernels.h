// Float kernels of a training step. Every function works on rows that the caller chose; none allocates or starts
// threads. One table per instruction set; results depend on the table, never on the number of threads.
#ifndef EDGELORA_FLOAT_KERNELS_H
#define EDGELORA_FLOAT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// Products of floats rounded to bfloat16, to nearest even: two of them, neighbours along the reduction, fill a word, and are
// multiplied and added together. Words are moved as floats are.
typedef struct {
  // y[i][p] = x[i][2p] and x[i][2p + 1], for k columns of x; a last one without a neighbour gets a zero. y may be x.
  void (*pack_rows)(size_t m, size_t k, const float *x, size_t ldx, float *y, size_t ldy);
  // y[p][j] = x[2p][j] and x[2p + 1][j], for k rows of x and n columns, a multiple of 16.
  void (*pack_columns)(size_t k, size_t n, const float *x, size_t ldx, float *y, size_t ldy);
  // As `gemm` of floats; k counts words, n is a multiple of 16.
  void (*gemm)(size_t m, size_t n, size_t k, float alpha, const float *a, size_t a_row, size_t a_col, const float *b,
               size_t ldb, float beta, float *c, size_t ldc);
} el_pair_kernels;

// Products of rows that are rounded to 16-bit whole numbers, each with a unit of its own. Two numbers, neighbours along the row,
// fill a word, which is moved as a float is. The sums of the numbers' products are exact.
typedef struct {
  // x[i] is y[i] times units[i], for k columns of x, a multiple of 32. A row with what is no finite number gets such a unit.
  void (*quantise_rows)(size_t m, size_t k, const float *x, size_t ldx, float *y, size_t ldy, float *units);
  // c[i][j] = alpha a_units[i] b_units[j] sum_p a[i][p] b[p][j]; k counts words, n is a multiple of 16.
  void (*gemm)(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *a_units, const float *b,
               size_t ldb, const float *b_units, float *c, size_t ldc);
} el_word_kernels;

// One activation f, alone and as the gate of another product; x, gate and up are halves where the name says so.
typedef struct {
  // h = f(gate) up; h may be gate or up.
  void (*gate)(size_t n, const float *gate, const float *up, float *h);
  void (*gate_half)(size_t n, const uint16_t *gate, const uint16_t *up, float *h);
  // dh becomes the gradient of gate, du that of up.
  void (*gate_backward)(size_t n, const float *gate, const float *up, float *dh, float *du);
  void (*gate_backward_half)(size_t n, const uint16_t *gate, const uint16_t *up, float *dh, float *du);
  // h = f(x); h may be x.
  void (*alone)(size_t n, const float *x, float *h);
  void (*alone_half)(size_t n, const uint16_t *x, float *h);
  // dh becomes the gradient of x.
  void (*backward)(size_t n, const float *x, float *dh);
  void (*backward_half)(size_t n, const uint16_t *x, float *dh);
} el_activation;

typedef struct {
  const char *name;

  // y = x * inverse * weight, inverse = 1 / sqrt(mean(x^2) + epsilon), over n elements; returns inverse.
  float (*rms_norm)(size_t n, const float *x, const float *weight, float epsilon, float *y);
  // dx += inverse * (w dy - x^ mean(w dy x^)), x^ = x * inverse.
  void (*rms_norm_backward)(size_t n, const float *dy, const float *x, const float *weight, float inverse, float *dx);
  // The same in place: dy becomes the gradient of x.
  void (*rms_norm_gradient)(size_t n, const float *x, const float *weight, float inverse, float *dy);
  void (*rms_norm_gradient_half)(size_t n, const uint16_t *x, const float *weight, float inverse, float *dy);
  // y = x^ * weight + bias, x^ = (x - mean) * inverse, inverse = 1 / sqrt(variance + epsilon), over n elements; weight and
  // bias may be null, y may be x; returns inverse.
  float (*layer_norm)(size_t n, const float *x, const float *weight, const float *bias, float epsilon, float *y,
                      float *mean);
  // dx += inverse * (w dy - mean(w dy) - x^ mean(w dy x^)).
  void (*layer_norm_backward)(size_t n, const float *dy, const float *x, const float *weight, float mean, float inverse,
                              float *dx);
  // sum[j] += sum_i dy[i][j] x^[i][j], x^ = (x - mean[i]) * inverse[i * step], for m rows and n columns: the rows' sum first.
  // Without mean as if it were 0; mean has a step of 1.
  void (*norm_weight_gradient)(size_t m, size_t n, const float *dy, size_t ldd, const float *x, size_t ldx,
                               const float *inverse, size_t step, const float *mean, float *sum);
  void (*norm_weight_gradient_half)(size_t m, size_t n, const float *dy, size_t ldd, const uint16_t *x, size_t ldx,
                                    const float *inverse, size_t step, const float *mean, float *sum);
  // x / (1 + exp(-x)); x times the normal distribution, and with a tanh in its place; max(x, 0); the hyperbolic tangent.
  const el_activation *silu, *gelu, *gelu_tanh, *relu, *tanh;
  // bfloat16, rounded to nearest even, and back.
  void (*to_bfloat)(size_t n, const float *x, uint16_t *y);
  void (*from_bfloat)(size_t n, const uint16_t *x, float *y);
  // Halves, IEEE 754's binary16, rounded to nearest even, and back; what is too large becomes the largest.
  void (*to_half)(size_t n, const float *x, uint16_t *y);
  void (*from_half)(size_t n, const uint16_t *x, float *y);
  // Rotates the pairs (i, i + half) of one head; sign is +1 forward, -1 for the inverse.
  void (*rotate)(size_t half, const float *cosine, const float *sine, float sign, float *x);
  // y = x. The C library's way, with few long instructions, takes many times as long for rows on some processors: Zen's, where
  // both addresses lie alike in their pages.
  void (*copy)(size_t n, const float *x, float *y);
  // y += scale * x
  void (*add_scaled)(size_t n, float scale, const float *x, float *y);
  // x *= scale
  void (*scale)(size_t n, float scale, float *x);
  // sum[j] += sum_i a[i][j] for m rows and n columns: the rows' sum first.
  void (*column_sums)(size_t m, size_t n, const float *a, size_t lda, float *sum);
  // y = a s by columns, which may be a, and sum[j] += t[j] sum_i a[i][j] b[i][j]; without t as if it were 1.
  void (*scaled_dots)(size_t m, size_t n, const float *s, const float *t, const float *a, size_t lda, const float *b,
                      size_t ldb, float *y, size_t ldy, float *sum);
  // y (+)= x s by columns.
  void (*scale_columns)(size_t m, size_t n, const float *s, const float *x, size_t ldx, int accumulate, float *y,
                        size_t ldy);
  // sum of x^2
  double (*sum_of_squares)(size_t n, const float *x);
  // sum of x * y
  float (*dot)(size_t n, const float *x, const float *y);
  // Largest element; the first of equals. Returns its index.
  size_t (*argmax)(size_t n, const float *x);
  // log(sum(exp(x))), stable.
  float (*log_sum_exp)(size_t n, const float *x);
  // x = exp(x - shift) * scale; returns the sum of exp(x - shift).
  float (*exp_shifted)(size_t n, float shift, float scale, float *x);
  // x = exp(x - largest), where largest is the largest element; returns the sum.
  float (*exp_from_largest)(size_t n, float *x, float *largest);
  // y[j][i] = x[i][j] for m rows and n columns of x.
  void (*transpose)(size_t m, size_t n, const float *x, size_t ldx, float *y, size_t ldy);
  // dp = p * (dp - mean) * scale: gradient of a softmax row.
  void (*softmax_backward)(size_t n, float mean, float scale, const float *p, float *dp);
  // y = x with each element zeroed with the given probability, the rest divided by 1 - probability; element i of the
  // row decides by seed and first + i.
  void (*dropout)(size_t n, float probability, uint64_t seed, uint64_t first, const float *x, float *y);
  // One AdamW update (decoupled decay). corrections are 1 - beta^step.
  void (*adamw)(size_t n, float *p, const float *g, float *m, float *v, float lr, float beta1, float beta2, float epsilon,
                float decay, float correction1, float correction2_sqrt);
  // c[i][j] = beta c[i][j] + alpha sum_k a[i * a_row + k * a_col] * b[k][j]; beta is 0 or 1. b and c are row-major.
  void (*gemm)(size_t m, size_t n, size_t k, float alpha, const float *a, size_t a_row, size_t a_col, const float *b,
               size_t ldb, float beta, float *c, size_t ldc);
  // c[i][j] += alpha sum_k a[k][i] * b[k][j]: for few columns of a and rows that are far longer than a tile of c.
  void (*gemm_transposed)(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                          size_t ldb, float *c, size_t ldc);
  // c[i][j] (+)= alpha sum_k a[i][k] * b[j][k]: dot products of rows; for few rows of b and long k.
  void (*gemm_rows)(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b, size_t ldb,
                    float beta, float *c, size_t ldc);
  // Null where a processor has no instruction for them.
  const el_pair_kernels *pairs;
  const el_word_kernels *words;
} el_float_kernels;

// The table for an instruction set: "portable", "sse42", "avx2", "avx512", "avx512bf16", "neon"; null if this machine cannot run it.
const el_float_kernels *el_float_kernels_named(const char *name);
// The names that exist in this build, null-terminated, slowest first.
const char *const *el_float_kernel_names(void);

#endif
