// Integer kernels for NEON with matrix multiplication (Cortex-A710, Neoverse N2 and later): `smmla` multiplies 2 rows x 8
// elements with 8 elements x 2 columns.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "../include/int8_kernels.h"

#define FN(name) name##_i8mm
#define KERNEL_NAME "i8mm"

#pragma clang attribute push(__attribute__((target("i8mm,dotprod"))), apply_to = function)
#include "neon_values.inc"
#include "neon_bias.inc"

// 6 rows x 8 columns are 3 x 4 squares: 12 integer and 12 float accumulators, 3 vectors of row codes and 4 of the panel's.
#define ROWS 6
#define PAIRED 2
#define GROUP 8
#define PAD 128

// A group's codes: [4][4 column pairs][2][8], elements in eights; then, as a square needs them, each pair's scales and
// biases: [4][2][2] and [4][2][2].
INLINE void FN(put_tile)(int8_t *group, size_t half, size_t column, int8x16_t v[4]) {
  for (size_t c = 0; c < 4; c += 2) {
    int64x2_t a = vreinterpretq_s64_s8(v[c]), b = vreinterpretq_s64_s8(v[c + 1]);
    int8_t *out = group + half * 128 + (column + c) * 8;
    vst1q_s8(out, vreinterpretq_s8_s64(vzip1q_s64(a, b)));
    vst1q_s8(out + 64, vreinterpretq_s8_s64(vzip2q_s64(a, b)));
  }
}

#include "neon_layout.inc"

INLINE int32_t FN(panel_code)(const void *panel, size_t p, size_t j) {
  return FN(unit)(panel, p / 32 * 32, j / 8 * 8)[p % 32 / 8 * 64 + j % 8 * 8 + p % 8];
}

// Rows in pairs: [rows / 2][columns / 8][2][8].
static size_t FN(row_code_bytes)(size_t rows, size_t columns, size_t block) {
  (void)block;
  return (rows + 1) / 2 * 2 * columns;
}

INLINE const int8_t *FN(codes_at)(const el_rows *x, size_t row, size_t first) {
  return (const int8_t *)x->codes + row / 2 * 2 * x->columns + first * 2 + row % 2 * 8;
}

INLINE void FN(put_codes)(const el_rows *x, size_t row, size_t first, size_t n, const int8_t *codes) {
  int8_t *out = (int8_t *)FN(codes_at)(x, row, first);
  for (size_t i = 0; i < n; i += 8) memcpy(out + i * 2, codes + i, 8);
}

INLINE void FN(get_codes)(const el_rows *x, size_t row, int8_t *codes) {
  const int8_t *in = FN(codes_at)(x, row, 0);
  for (size_t i = 0; i < x->columns; i += 8) memcpy(codes + i, in + i * 2, 8);
}

#define FINISH_PANEL
INLINE void FN(finish_panel)(size_t k, size_t block, const el_panel *panel) {
  for (size_t p = 0; p < k; p += block)
    for (size_t j = 0; j < EL_PANEL; j += 4) {
      float64x2_t scale = vreinterpretq_f64_f32(vld1q_f32(panel->scales + p / block * EL_PANEL + j));
      float *out = (float *)(FN(unit)(panel->codes, p + block - 32, j / 8 * 8) + 256) + j % 8 * 2;
      float32x4_t first = vreinterpretq_f32_f64(vzip1q_f64(scale, scale));
      float32x4_t second = vreinterpretq_f32_f64(vzip2q_f64(scale, scale));
      vst1q_f32(out, first);
      vst1q_f32(out + 4, second);
      vst1q_f32(out + 16, vmulq_n_f32(first, -MAGIC));
      vst1q_f32(out + 20, vmulq_n_f32(second, -MAGIC));
    }
}

#define SMMLA(SUM, X, W) "smmla v" #SUM ".4s, v" #X ".16b, v" #W ".16b\n"
#define EIGHT                                                                                                         \
  "ldr q24, [%[x0], %[p]]\n ldr q25, [%[x1], %[p]]\n ldr q26, [%[x2], %[p]]\n add %[p], %[p], #16\n"                  \
  "ldp q27, q28, [%[w]], #32\n ldp q29, q30, [%[w]], #32\n"                                                           \
  SMMLA(0, 24, 27) SMMLA(4, 25, 27) SMMLA(8, 26, 27) SMMLA(1, 24, 28) SMMLA(5, 25, 28) SMMLA(9, 26, 28)               \
  SMMLA(2, 24, 29) SMMLA(6, 25, 29) SMMLA(10, 26, 29) SMMLA(3, 24, 30) SMMLA(7, 25, 30) SMMLA(11, 26, 30)
// Two squares' sums join their floats and start again; v24 holds the scales of the two rows, as a square needs them.
#define TWO(OFFSET, S0, S1, F0, F1, W0, W1)                                                                           \
  "ldp q25, q26, [%[w], #" #OFFSET "]\n"                                                                              \
  "fmla v25.4s, v" #S0 ".4s, v" #W0 ".4s\n fmla v26.4s, v" #S1 ".4s, v" #W1 ".4s\n"                                   \
  "ldp q" #S0 ", q" #S1 ", [%[magic]]\n"                                                                              \
  "fmla v" #F0 ".4s, v25.4s, v24.4s\n fmla v" #F1 ".4s, v26.4s, v24.4s\n"
// w points to the next unit: the scales lie at 256 - 1536, the biases at 320 - 1536, too far for an offset of ldp.
#define PAIR_END(R0, R1, S0, S1, S2, S3, F0, F1, F2, F3)                                                              \
  "ldr s24, [%[s" #R0 "], %[b]]\n ldr s31, [%[s" #R1 "], %[b]]\n"                                                     \
  "zip1 v24.4s, v24.4s, v31.4s\n zip1 v24.4s, v24.4s, v24.4s\n"                                                       \
  TWO(64, S0, S1, F0, F1, 27, 28) TWO(96, S2, S3, F2, F3, 29, 30)
// Two lines of y between memory and squares; v24 to v27 are free.
#define PAIR_IN(F0, F1, F2, F3)                                                                                       \
  "ldp q24, q25, [%[line]]\n add %[line], %[line], %[ld]\n ldp q26, q27, [%[line]]\n add %[line], %[line], %[ld]\n"   \
  "zip1 v" #F0 ".2d, v24.2d, v26.2d\n zip2 v" #F1 ".2d, v24.2d, v26.2d\n"                                             \
  "zip1 v" #F2 ".2d, v25.2d, v27.2d\n zip2 v" #F3 ".2d, v25.2d, v27.2d\n"
#define PAIR_OUT(F0, F1, F2, F3)                                                                                      \
  "zip1 v24.2d, v" #F0 ".2d, v" #F1 ".2d\n zip1 v25.2d, v" #F2 ".2d, v" #F3 ".2d\n"                                   \
  "zip2 v26.2d, v" #F0 ".2d, v" #F1 ".2d\n zip2 v27.2d, v" #F2 ".2d, v" #F3 ".2d\n"                                   \
  "stp q24, q25, [%[line]]\n add %[line], %[line], %[ld]\n stp q26, q27, [%[line]]\n add %[line], %[line], %[ld]\n"
#define ZERO(F) "movi v" #F ".4s, #0\n"

static __attribute__((noinline)) void FN(tile)(size_t blocks, size_t units, const int8_t *const x[ROWS / PAIRED], const float *const sx[ROWS],
                     const int8_t *w, const float *sw, float *y, size_t ldy, int accumulate) {
  (void)sw;  // the panel holds a copy
  size_t p = 0, b = 0, count;
  float *line;
  __asm__ volatile(
      "mov %[line], %[y]\n cbz %w[accumulate], 1f\n"
      PAIR_IN(12, 13, 14, 15) PAIR_IN(16, 17, 18, 19) PAIR_IN(20, 21, 22, 23)
      "b 2f\n"
      "1:\n" ZERO(12) ZERO(13) ZERO(14) ZERO(15) ZERO(16) ZERO(17) ZERO(18) ZERO(19) ZERO(20) ZERO(21) ZERO(22) ZERO(23)
      "2:\n"
      "ldp q0, q1, [%[magic]]\n ldp q2, q3, [%[magic]]\n ldp q4, q5, [%[magic]]\n"
      "ldp q6, q7, [%[magic]]\n ldp q8, q9, [%[magic]]\n ldp q10, q11, [%[magic]]\n"
      "3:\n"
      LOOP_BEGIN("i8mm: int8 6 x 8")
      "mov %[count], %[units]\n"
#ifdef EDGELORA_MCA
      ".rept 2\n" EIGHT EIGHT EIGHT EIGHT "add %[w], %[w], #1280\n subs %[count], %[count], #1\n .endr\n"
#else
      "4:\n" EIGHT EIGHT EIGHT EIGHT "add %[w], %[w], #1280\n subs %[count], %[count], #1\n b.ne 4b\n"
#endif
      "sub %[w], %[w], #1280\n ldp q27, q28, [%[w]]\n ldp q29, q30, [%[w], #32]\n"
      PAIR_END(0, 1, 0, 1, 2, 3, 12, 13, 14, 15) PAIR_END(2, 3, 4, 5, 6, 7, 16, 17, 18, 19)
      PAIR_END(4, 5, 8, 9, 10, 11, 20, 21, 22, 23)
      "add %[w], %[w], #1280\n add %[b], %[b], #4\n subs %[blocks], %[blocks], #1\n"
      LOOP_END
      "b.ne 3b\n mov %[line], %[y]\n"
      PAIR_OUT(12, 13, 14, 15) PAIR_OUT(16, 17, 18, 19) PAIR_OUT(20, 21, 22, 23)
      : [blocks] "+r"(blocks), [p] "+r"(p), [b] "+r"(b), [w] "+r"(w), [count] "=&r"(count), [line] "=&r"(line)
      : [units] "r"(units), [x0] "r"(x[0]), [x1] "r"(x[1]), [x2] "r"(x[2]), [s0] "r"(sx[0]), [s1] "r"(sx[1]),
        [s2] "r"(sx[2]), [s3] "r"(sx[3]), [s4] "r"(sx[4]), [s5] "r"(sx[5]), [y] "r"(y), [ld] "r"(ldy * sizeof(float)),
        [accumulate] "r"(accumulate), [magic] "r"(FN(magic))
      : "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
}

#include "neon_dot.inc"
#include "neon_gemm.inc"
#include "table.inc"
#pragma clang attribute pop
#endif
