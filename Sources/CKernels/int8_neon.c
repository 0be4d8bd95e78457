// Integer kernels for NEON without dot product (Cortex-A72): `smull` and `smlal` add two byte products in 16 bits, which
// 2 * 127 * 127 fits, and `sadalp` widens them.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "include/int8_kernels.h"

#define FN(name) name##_neon
#define KERNEL_NAME "neon"

#include "int8_neon_unpack.inc"
#include "int8_values.inc"
#include "int8_quads.inc"

// ROWS x 8 columns: each four columns have two accumulators of pair sums, joined at the end of the block.
#define ROWS 2
#define COLUMNS 8
static inline __attribute__((always_inline)) void FN(block_sums)(size_t rows, size_t block, const int8_t *x, size_t ldx,
                                                                 const int8_t *w, int32x4_t s[ROWS][COLUMNS / 4]) {
  int32x4_t low[ROWS][2], high[ROWS][2];
  for (size_t i = 0; i < rows; i++)
    for (int j = 0; j < 2; j++) low[i][j] = high[i][j] = vdupq_n_s32(0);
  for (size_t g = 0; g < block / 4; g += 2, w += 2 * EL_PANEL * 4) {
    for (size_t i = 0; i < rows; i++) {
      int32_t first, second;
      memcpy(&first, x + i * ldx + g * 4, 4);
      memcpy(&second, x + i * ldx + g * 4 + 4, 4);
      int8x8_t a = vreinterpret_s8_s32(vdup_n_s32(first)), b = vreinterpret_s8_s32(vdup_n_s32(second));
      for (int j = 0; j < 2; j++) {
        int8x16_t w0 = vld1q_s8(w + j * 16), w1 = vld1q_s8(w + EL_PANEL * 4 + j * 16);
        int16x8_t p = vmlal_s8(vmull_s8(vget_low_s8(w0), a), vget_low_s8(w1), b);
        int16x8_t q = vmlal_s8(vmull_s8(vget_high_s8(w0), a), vget_high_s8(w1), b);
        low[i][j] = vpadalq_s16(low[i][j], p);
        high[i][j] = vpadalq_s16(high[i][j], q);
      }
    }
  }
  for (size_t i = 0; i < rows; i++)
    for (int j = 0; j < 2; j++) s[i][j] = vpaddq_s32(low[i][j], high[i][j]);
}

#include "int8_neon_gemm.inc"
#include "int8_table.inc"

#endif
