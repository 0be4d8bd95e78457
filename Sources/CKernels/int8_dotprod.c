// Integer kernels for NEON with dot product (Cortex-A76): `sdot` by lane, four columns of four bytes each.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "include/int8_kernels.h"

#define FN(name) name##_dotprod
#define KERNEL_NAME "dotprod"

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#include "int8_neon_unpack.inc"
#include "int8_values.inc"
#include "int8_quads.inc"

// 4 rows x 16 columns: 16 accumulators, 4 weights, and one vector of 16 codes for each row.
#define ROWS 4
#define COLUMNS 16
static inline __attribute__((always_inline)) void FN(block_sums)(size_t rows, size_t block, const int8_t *x, size_t ldx,
                                                                 const int8_t *w, int32x4_t s[ROWS][COLUMNS / 4]) {
  for (size_t i = 0; i < rows; i++)
    for (int j = 0; j < 4; j++) s[i][j] = vdupq_n_s32(0);
#define STEP(LANE)                                                                                       \
  do {                                                                                                   \
    for (int j = 0; j < 4; j++) {                                                                        \
      int8x16_t v = vld1q_s8(w + j * 16);                                                                \
      for (size_t i = 0; i < rows; i++) s[i][j] = vdotq_laneq_s32(s[i][j], v, a[i], LANE);               \
    }                                                                                                    \
    w += EL_PANEL * 4;                                                                                   \
  } while (0)
  for (size_t g = 0; g < block; g += 16) {
    int8x16_t a[ROWS];
    for (size_t i = 0; i < rows; i++) a[i] = vld1q_s8(x + i * ldx + g);
    STEP(0);
    STEP(1);
    STEP(2);
    STEP(3);
  }
}

#include "int8_neon_gemm.inc"
#include "int8_table.inc"
#pragma clang attribute pop
#endif
