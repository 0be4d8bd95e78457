// Integer kernels for NEON without dot product (Cortex-A72): `smull` and `smlal` add two byte products in 16 bits, which
// 2 * 127 * 127 fits, and `sadalp` widens them.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "../include/int8_kernels.h"

#define FN(name) name##_neon
#define KERNEL_NAME "neon"

#include "neon_values.inc"

// 4 rows x 4 columns, each with a vector of four partial sums: no code is broadcast. The Cortex-A72 multiplies integers
// on one of its two vector pipes, 8 products in a cycle; `sadalp` and what follows a block go to the other one.
#define ROWS 4
#define PAIRED 1
#define GROUP 4
#define PAD 8

// A group's codes: [2][4 columns][16], elements in sixteens.
INLINE void FN(put_tile)(int8_t *group, size_t half, size_t column, int8x16_t v[4]) {
  for (size_t c = 0; c < 4; c++) vst1q_s8(group + half * 64 + (column + c) * 16, v[c]);
}

#include "neon_layout.inc"
#include "neon_rows.inc"

INLINE int32_t FN(panel_code)(const void *panel, size_t p, size_t j) {
  return FN(unit)(panel, p / 32 * 32, j / 4 * 4)[p % 32 / 16 * 64 + j % 4 * 16 + p % 16];
}

#define LOW(PAIR, W, X) "smull v" #PAIR ".8h, v" #W ".8b, v" #X ".8b\n"
#define HIGH(PAIR, W, X) "smlal2 v" #PAIR ".8h, v" #W ".16b, v" #X ".16b\n"
#define ADD(SUM, PAIR) "sadalp v" #SUM ".4s, v" #PAIR ".8h\n"
#define SET(SUM, PAIR) "saddlp v" #SUM ".4s, v" #PAIR ".8h\n"
// 16 elements of a row with the four columns in v24 to v27.
#define ROW(JOIN, X, S0, S1, S2, S3)                                                                                  \
  LOW(28, 24, X) LOW(29, 25, X) LOW(30, 26, X) LOW(31, 27, X) HIGH(28, 24, X) HIGH(29, 25, X) HIGH(30, 26, X)         \
  HIGH(31, 27, X) JOIN(S0, 28) JOIN(S1, 29) JOIN(S2, 30) JOIN(S3, 31)
// The same, with the six steps that end the row before it put where the multiplying pipe does not notice.
#define ROW_AND(X, S0, S1, S2, S3, A, B, C, D, E, F)                                                                  \
  LOW(28, 24, X) A LOW(29, 25, X) LOW(30, 26, X) B LOW(31, 27, X) HIGH(28, 24, X) HIGH(29, 25, X) C HIGH(30, 26, X)   \
  ADD(S0, 28) HIGH(31, 27, X) D ADD(S1, 29) ADD(S2, 30) E ADD(S3, 31) F
#define ROW_THEN(...) ROW_AND(__VA_ARGS__)
#define ADDP(D, A, B) "addp v" #D ".4s, v" #A ".4s, v" #B ".4s\n"
// Partial sums to floats, and into F; v20 holds the panel's scales.
#define END(R, S0, S1, S2, S3, F)                                                                                     \
  ADDP(S0, S0, S1), ADDP(S2, S2, S3), "ldr s" #S1 ", [%[s" #R "], %[b]]\n" ADDP(S0, S0, S2),                          \
      "scvtf v" #S0 ".4s, v" #S0 ".4s\n", "fmul v" #S0 ".4s, v" #S0 ".4s, v20.4s\n",                                  \
      "fmla v" #F ".4s, v" #S0 ".4s, v" #S1 ".s[0]\n"
#define JOINED(A, B, C, D, E, F) A B C D E F
#define ALONE(...) JOINED(__VA_ARGS__)
#define LOADS                                                                                                         \
  "ldr q20, [%[x0], %[p]]\n ldr q24, [%[w]]\n ldr q25, [%[w], #16]\n ldr q26, [%[w], #32]\n ldr q27, [%[w], #48]\n"   \
  "ldr q21, [%[x1], %[p]]\n ldr q22, [%[x2], %[p]]\n ldr q23, [%[x3], %[p]]\n add %[p], %[p], #16\n"
#define SIXTEEN(JOIN)                                                                                                 \
  LOADS ROW(JOIN, 20, 0, 1, 2, 3) ROW(JOIN, 21, 4, 5, 6, 7) ROW(JOIN, 22, 8, 9, 10, 11) ROW(JOIN, 23, 12, 13, 14, 15)
#define LINE(OP, F) OP " q" #F ", [%[line]]\n add %[line], %[line], %[ld]\n"
#define LINES(OP) "mov %[line], %[y]\n" LINE(OP, 16) LINE(OP, 17) LINE(OP, 18) LINE(OP, 19)

static __attribute__((noinline)) void FN(tile)(size_t blocks, size_t units, const int8_t *const x[ROWS], const float *const sx[ROWS],
                     const int8_t *w, const float *sw, float *y, size_t ldy, int accumulate) {
  size_t p = 0, b = 0, count;
  float *line;
  __asm__ volatile(
      "cbz %w[accumulate], 1f\n" LINES("ldr")
      "b 2f\n"
      "1:\n movi v16.4s, #0\n movi v17.4s, #0\n movi v18.4s, #0\n movi v19.4s, #0\n"
      "2:\n"
      LOOP_BEGIN("neon: int8 4 x 4")
      "subs %[count], %[units], #1\n" SIXTEEN(SET) "add %[w], %[w], #64\n"
#ifdef EDGELORA_MCA
      SIXTEEN(ADD) "add %[w], %[w], #1024\n" SIXTEEN(ADD) "add %[w], %[w], #64\n subs %[count], %[count], #1\n"
#else
      "b.eq 4f\n"
      "3:\n" SIXTEEN(ADD) "add %[w], %[w], #1024\n" SIXTEEN(ADD) "add %[w], %[w], #64\n subs %[count], %[count], #1\n b.ne 3b\n"
      "4:\n"
#endif
      LOADS ROW(ADD, 20, 0, 1, 2, 3) "ldr q20, [%[sw]]\n add %[sw], %[sw], #128\n"
      ROW_THEN(21, 4, 5, 6, 7, END(0, 0, 1, 2, 3, 16))
      ROW_THEN(22, 8, 9, 10, 11, END(1, 4, 5, 6, 7, 17))
      ROW_THEN(23, 12, 13, 14, 15, END(2, 8, 9, 10, 11, 18))
      ALONE(END(3, 12, 13, 14, 15, 19))
      "add %[w], %[w], #1024\n add %[b], %[b], #4\n subs %[blocks], %[blocks], #1\n"
      LOOP_END
      "b.ne 2b\n" LINES("str")
      : [blocks] "+r"(blocks), [p] "+r"(p), [b] "+r"(b), [w] "+r"(w), [sw] "+r"(sw), [count] "=&r"(count), [line] "=&r"(line)
      : [units] "r"(units), [x0] "r"(x[0]), [x1] "r"(x[1]), [x2] "r"(x[2]), [x3] "r"(x[3]), [s0] "r"(sx[0]),
        [s1] "r"(sx[1]), [s2] "r"(sx[2]), [s3] "r"(sx[3]), [y] "r"(y), [ld] "r"(ldy * sizeof(float)),
        [accumulate] "r"(accumulate)
      : "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
}

#define DOT_CODES
INLINE float FN(dot_codes)(size_t k, size_t block, const int8_t *x, const float *sx, const int8_t *w, const float *sw) {
  float32x4_t low = vdupq_n_f32(0), high = vdupq_n_f32(0);
  for (size_t b = 0; b * block < k; b++) {
    int32x4_t s[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    for (size_t p = b * block; p < (b + 1) * block; p += 32)
      for (size_t q = 0; q < 2; q++) {
        int8x16_t v = vld1q_s8(x + p + q * 16), c = vld1q_s8(w + p + q * 16);
        s[2 * q] = vpadalq_s16(s[2 * q], vmull_s8(vget_low_s8(v), vget_low_s8(c)));
        s[2 * q + 1] = vpadalq_s16(s[2 * q + 1], vmull_high_s8(v, c));
      }
    low = vfmaq_n_f32(low, vmulq_n_f32(vcvtq_f32_s32(vpaddq_s32(s[0], s[1])), sw[b]), sx[b]);
    high = vfmaq_n_f32(high, vmulq_n_f32(vcvtq_f32_s32(vpaddq_s32(s[2], s[3])), sw[b]), sx[b]);
  }
  float32x4_t sum = vaddq_f32(low, high);
  float32x2_t half = vadd_f32(vget_low_f32(sum), vget_high_f32(sum));
  return vget_lane_f32(half, 0) + vget_lane_f32(half, 1);
}

#include "neon_gemm.inc"
#include "table.inc"

#endif
