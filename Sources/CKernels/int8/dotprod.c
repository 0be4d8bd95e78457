// Integer kernels for NEON with dot product (Cortex-A76): `sdot` by lane, four columns of four bytes each.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "../include/int8_kernels.h"

#define FN(name) name##_dotprod
#define KERNEL_NAME "dotprod"

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#include "neon_values.inc"
#include "neon_bias.inc"

// 6 rows x 8 columns: 12 integer and 12 float accumulators, 6 vectors of row codes and 2 of the panel's are all 32
// registers. Float accumulators in memory would cost a store on a vector pipe each.
#define ROWS 6
#define PAIRED 1
#define GROUP 8
#define PAD 32

// A group's codes: [8][8 columns][4], elements in fours; then 8 biases.
INLINE void FN(put_tile)(int8_t *group, size_t half, size_t column, int8x16_t v[4]) {
  FN(transpose_words)(v);
  for (size_t q = 0; q < 4; q++) vst1q_s8(group + (half * 4 + q) * 32 + column * 4, v[q]);
}

#include "neon_layout.inc"
#include "neon_rows.inc"

INLINE int32_t FN(panel_code)(const void *panel, size_t p, size_t j) {
  return FN(unit)(panel, p / 32 * 32, j / 8 * 8)[p % 32 / 4 * 32 + j % 8 * 4 + p % 4];
}

#define FINISH_PANEL
INLINE void FN(finish_panel)(size_t k, size_t block, const el_panel *panel) {
  for (size_t p = 0; p < k; p += block)
    for (size_t j = 0; j < EL_PANEL; j += 4) {
      float32x4_t scale = vld1q_f32(panel->scales + p / block * EL_PANEL + j);
      vst1q_f32((float *)(FN(unit)(panel->codes, p + block - 32, j / 8 * 8) + 256) + j % 8, vmulq_n_f32(scale, -MAGIC));
    }
}

#define SDOT(SUM, W, X, LANE) "sdot v" #SUM ".4s, v" #W ".16b, v" #X ".4b[" #LANE "]\n"
#define FOUR(LANE)                                                                                         \
  "ldp q30, q31, [%[w]], #32\n" SDOT(0, 30, 24, LANE) SDOT(2, 30, 25, LANE) SDOT(4, 30, 26, LANE)          \
  SDOT(6, 30, 27, LANE) SDOT(8, 30, 28, LANE) SDOT(10, 30, 29, LANE) SDOT(1, 31, 24, LANE)                 \
  SDOT(3, 31, 25, LANE) SDOT(5, 31, 26, LANE) SDOT(7, 31, 27, LANE) SDOT(9, 31, 28, LANE) SDOT(11, 31, 29, LANE)
#define SIXTEEN                                                                                                    \
  "ldr q24, [%[x0], %[p]]\n ldr q25, [%[x1], %[p]]\n ldr q26, [%[x2], %[p]]\n ldr q27, [%[x3], %[p]]\n"            \
  "ldr q28, [%[x4], %[p]]\n ldr q29, [%[x5], %[p]]\n add %[p], %[p], #16\n" FOUR(0) FOUR(1) FOUR(2) FOUR(3)
// Sums S0 and S1 of a row join its floats F0 and F1 and start again. w points behind the unit's group.
#define ROW_END(ROW, S0, S1, F0, F1, T0, T1, T2)                                                       \
  "ldp q" #T0 ", q" #T1 ", [%[w], #-896]\n ldr s" #T2 ", [%[s" #ROW "], %[b]]\n"                       \
  "fmla v" #T0 ".4s, v" #S0 ".4s, v24.4s\n fmla v" #T1 ".4s, v" #S1 ".4s, v25.4s\n"                    \
  "ldp q" #S0 ", q" #S1 ", [%[magic]]\n"                                                               \
  "fmla v" #F0 ".4s, v" #T0 ".4s, v" #T2 ".s[0]\n fmla v" #F1 ".4s, v" #T1 ".4s, v" #T2 ".s[0]\n"
#define LINE(OP, F0, F1) OP " q" #F0 ", q" #F1 ", [%[line]]\n add %[line], %[line], %[ld]\n"
#define LINES(OP) \
  "mov %[line], %[y]\n" LINE(OP, 12, 13) LINE(OP, 14, 15) LINE(OP, 16, 17) LINE(OP, 18, 19) LINE(OP, 20, 21) LINE(OP, 22, 23)
#define ZERO(F) "movi v" #F ".4s, #0\n"

static __attribute__((noinline)) void FN(tile)(size_t blocks, size_t units, const int8_t *const x[ROWS], const float *const sx[ROWS],
                     const int8_t *w, const float *sw, float *y, size_t ldy, int accumulate) {
  size_t p = 0, b = 0, count;
  float *line;
  __asm__ volatile(
      "cbz %w[accumulate], 1f\n" LINES("ldp")
      "b 2f\n"
      "1:\n" ZERO(12) ZERO(13) ZERO(14) ZERO(15) ZERO(16) ZERO(17) ZERO(18) ZERO(19) ZERO(20) ZERO(21) ZERO(22) ZERO(23)
      "2:\n"
      "ldp q0, q1, [%[magic]]\n ldp q2, q3, [%[magic]]\n ldp q4, q5, [%[magic]]\n"
      "ldp q6, q7, [%[magic]]\n ldp q8, q9, [%[magic]]\n ldp q10, q11, [%[magic]]\n"
      "3:\n"
      LOOP_BEGIN("dotprod: int8 6 x 8")
      "mov %[count], %[units]\n"
#ifdef EDGELORA_MCA
      ".rept 2\n" SIXTEEN SIXTEEN "add %[w], %[w], #896\n subs %[count], %[count], #1\n .endr\n"
#else
      "4:\n" SIXTEEN SIXTEEN "add %[w], %[w], #896\n subs %[count], %[count], #1\n b.ne 4b\n"
#endif
      "ldp q24, q25, [%[sw]]\n add %[sw], %[sw], #128\n"
      ROW_END(0, 0, 1, 12, 13, 26, 27, 28) ROW_END(1, 2, 3, 14, 15, 29, 30, 31) ROW_END(2, 4, 5, 16, 17, 26, 27, 28)
      ROW_END(3, 6, 7, 18, 19, 29, 30, 31) ROW_END(4, 8, 9, 20, 21, 26, 27, 28) ROW_END(5, 10, 11, 22, 23, 29, 30, 31)
      "add %[b], %[b], #4\n subs %[blocks], %[blocks], #1\n"
      LOOP_END
      "b.ne 3b\n" LINES("stp")
      : [blocks] "+r"(blocks), [p] "+r"(p), [b] "+r"(b), [w] "+r"(w), [sw] "+r"(sw), [count] "=&r"(count), [line] "=&r"(line)
      : [units] "r"(units), [x0] "r"(x[0]), [x1] "r"(x[1]), [x2] "r"(x[2]), [x3] "r"(x[3]), [x4] "r"(x[4]),
        [x5] "r"(x[5]), [s0] "r"(sx[0]), [s1] "r"(sx[1]), [s2] "r"(sx[2]), [s3] "r"(sx[3]), [s4] "r"(sx[4]),
        [s5] "r"(sx[5]), [y] "r"(y), [ld] "r"(ldy * sizeof(float)), [accumulate] "r"(accumulate), [magic] "r"(FN(magic))
      : "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
}

#include "neon_dot.inc"
#include "neon_gemm.inc"
#include "table.inc"
#pragma clang attribute pop
#endif
