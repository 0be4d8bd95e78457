// Integer kernels in plain C: the specification of all others.
#include <math.h>
#include <string.h>

#include "include/int8_kernels.h"

#define FN(name) name##_portable
#define KERNEL_NAME "portable"

static void FN(unpack)(size_t n, const uint8_t *packed, const int8_t table[16], int high_first, int8_t *codes) {
  int first = high_first ? 4 : 0;
  for (size_t i = 0; i < n / 2; i++) {
    codes[2 * i] = table[(packed[i] >> first) & 15];
    codes[2 * i + 1] = table[(packed[i] >> (4 - first)) & 15];
  }
}

static void FN(gemm)(size_t m, size_t k, size_t block, const int8_t *x, size_t ldx, const float *sx, size_t ldsx,
                     const el_panel *panel, float *y, size_t ldy, size_t columns, int accumulate) {
  for (size_t i = 0; i < m; i++) {
    float out[EL_PANEL] = {0};
    if (accumulate) memcpy(out, y + i * ldy, columns * sizeof(float));
    for (size_t b = 0; b * block < k; b++) {
      int32_t s[EL_PANEL] = {0};
      for (size_t g = b * block / 4; g < (b + 1) * block / 4; g++) {
        const int8_t *w = panel->codes + g * EL_PANEL * 4, *p = x + i * ldx + g * 4;
        for (size_t j = 0; j < EL_PANEL; j++)
          s[j] += p[0] * w[j * 4] + p[1] * w[j * 4 + 1] + p[2] * w[j * 4 + 2] + p[3] * w[j * 4 + 3];
      }
      for (size_t j = 0; j < EL_PANEL; j++)
        out[j] = fmaf((float)s[j] * panel->scales[b * EL_PANEL + j], sx[i * ldsx + b], out[j]);
    }
    memcpy(y + i * ldy, out, columns * sizeof(float));
  }
}

#include "int8_body.inc"
