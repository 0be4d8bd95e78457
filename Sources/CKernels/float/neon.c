// Float kernels: vectors of 4, NEON.
#if defined(__aarch64__)
#include "../include/float_kernels.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

// 8 rows x 2 vectors: 16 accumulators.
#define VW 4
#define GEMM_ROWS 8
#define FN(name) name##_neon
#define TO_HALVES(v) (vh) vcvt_f16_f32((float32x4_t)(v))
#define FROM_HALVES(h) (vf) vcvt_f32_f16((float16x4_t)(h))
#define KERNEL_NAME "neon"

// The shared tile broadcasts every element of a, which takes a vector pipe; here four are loaded and multiplied by lane.
// The sums are those of the shared tile.
#define GEMM_TILE_WIDE
#define LANE(L, W)                                                            \
  do {                                                                        \
    float32x4_t w0 = vld1q_f32(W), w1 = vld1q_f32((W) + 4);                   \
    for (int i = 0; i < 8; i++) {                                             \
      s[i][0] = vfmaq_laneq_f32(s[i][0], w0, x[i], L);                        \
      s[i][1] = vfmaq_laneq_f32(s[i][1], w1, x[i], L);                        \
    }                                                                         \
  } while (0)
#define HALF(ROW, X)                                                          \
  do {                                                                        \
    s[ROW][0] = vfmaq_laneq_f32(s[ROW][0], w0, X, (ROW) % 4);                 \
    s[ROW][1] = vfmaq_laneq_f32(s[ROW][1], w1, X, (ROW) % 4);                 \
  } while (0)
static inline __attribute__((always_inline)) void FN(gemm_tile_wide)(size_t k, float alpha, const float *a, size_t a_row,
                                                                     size_t a_col, const float *b, size_t ldb,
                                                                     float beta, float *c, size_t ldc) {
  float32x4_t s[8][2];
  for (int i = 0; i < 8; i++) s[i][0] = s[i][1] = vdupq_n_f32(0);
  size_t p = 0;
  if (a_col == 1) {
    for (; p + 4 <= k; p += 4) {
      float32x4_t x[8];
      for (size_t i = 0; i < 8; i++) x[i] = vld1q_f32(a + i * a_row + p);
      LANE(0, b + p * ldb);
      LANE(1, b + (p + 1) * ldb);
      LANE(2, b + (p + 2) * ldb);
      LANE(3, b + (p + 3) * ldb);
    }
  } else if (a_row == 1) {
    for (; p < k; p++) {
      float32x4_t low = vld1q_f32(a + p * a_col), high = vld1q_f32(a + p * a_col + 4);
      float32x4_t w0 = vld1q_f32(b + p * ldb), w1 = vld1q_f32(b + p * ldb + 4);
      HALF(0, low);
      HALF(1, low);
      HALF(2, low);
      HALF(3, low);
      HALF(4, high);
      HALF(5, high);
      HALF(6, high);
      HALF(7, high);
    }
  }
  for (; p < k; p++) {
    float32x4_t w0 = vld1q_f32(b + p * ldb), w1 = vld1q_f32(b + p * ldb + 4);
    for (size_t i = 0; i < 8; i++) {
      float32x4_t x = vdupq_n_f32(a[i * a_row + p * a_col]);
      s[i][0] = vfmaq_f32(s[i][0], x, w0);
      s[i][1] = vfmaq_f32(s[i][1], x, w1);
    }
  }
  for (size_t i = 0; i < 8; i++)
    for (size_t j = 0; j < 2; j++) {
      float *out = c + i * ldc + j * 4;
      float32x4_t v = vmulq_n_f32(s[i][j], alpha);
      vst1q_f32(out, beta == 0 ? v : vfmaq_n_f32(vld1q_f32(out), s[i][j], alpha));
    }
}

#include "body.inc"
#endif
