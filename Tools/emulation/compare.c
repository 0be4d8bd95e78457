// Runs emulated kernel tables beside the portable one on made-up numbers; every result must have the same bits.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "int8_kernels.h"

extern const el_int8_kernels el_int8_kernels_portable, el_int8_kernels_avxvnni, el_int8_kernels_avx512vnni;

static unsigned long long state = 1;
static unsigned next(void) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (unsigned)(state >> 33);
}
static float uniform(void) { return (float)(next() & 0xffff) / 32768 - 1; }

static void *fill(size_t bytes) {
  unsigned char *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
  for (size_t i = 0; i < bytes; i++) p[i] = (unsigned char)next();
  return p;
}

static int failures, checks;

static void equal(const char *what, const char *name, el_codes codes, const float *a, const float *b, size_t n) {
  checks++;
  if (memcmp(a, b, n * sizeof(float)) == 0) return;
  failures++;
  for (size_t i = 0; i < n; i++)
    if (memcmp(a + i, b + i, sizeof(float)) != 0) {
      printf("%s of %s, format %d: element %zu is %a, not %a\n", what, name, (int)codes, i, b[i], a[i]);
      return;
    }
}

// All results of one table for one matrix; reduction over its columns or, if `transposed`, its rows.
static size_t run(const el_int8_kernels *kernels, el_matrix w, int transposed, size_t m, size_t columns, float *out) {
  size_t block = w.group % 64 == 0 && w.columns % 64 == 0 ? 64 : 32;
  size_t count = transposed ? w.rows : w.columns, k = (count + block - 1) / block * block, n = 0;
  el_rows x = {m, k, block, fill(kernels->row_code_bytes(m, k, block)), fill(m * k / block * sizeof(float))};
  float *values = malloc(count * sizeof(float));
  state = 99;
  for (size_t i = 0; i < m; i++) {
    for (size_t p = 0; p < count; p++) values[p] = uniform() * uniform();
    kernels->quantize_row(&x, i, count, values, transposed ? (unsigned)i * 77 + 1 : 0);
  }
  el_panel panel = {fill(kernels->panel_code_bytes(k)), fill(k / block * EL_PANEL * sizeof(float))};
  size_t first = transposed && k > 2 * block ? block : 0;
  if (transposed) kernels->decode_columns(&w, 32, first, k - first, block, &panel);
  else kernels->decode_rows(&w, 32, block, &panel);
  for (size_t p = 0; p < k - first; p++, n += EL_PANEL) kernels->panel_values(&panel, p, block, out + n);
  for (int accumulate = 0; accumulate < 2; accumulate++, n += m * (columns + 1)) {
    for (size_t i = 0; i < m * (columns + 1); i++) out[n + i] = (float)(i % 7);
    kernels->gemm(&x, 0, m, first, k - first, &panel, out + n, columns + 1, columns, accumulate);
  }
  if (!transposed) {
    size_t few = m < EL_DOT_ROWS ? m : EL_DOT_ROWS;
    int32_t places[3] = {0, 7, 31};
    float exact[3 * EL_DOT_ROWS];
    for (int i = 0; i < 3 * EL_DOT_ROWS; i++) exact[i] = (float)i / 3;
    el_exact_columns some = {3, places, exact};
    void *buffer = fill(kernels->dot_buffer_bytes(w.columns, few));
    kernels->dot_rows(&w, 1, w.rows - 1, &x, 0, few, &some, buffer, out + n, w.rows);
    for (size_t i = 0; i < few; i++, n += w.rows) out[n + w.rows - 1] = 0;
    free(buffer);
  }
  free(x.codes), free(x.scales), free(panel.codes), free(panel.scales), free(values);
  return n;
}

int main(void) {
  const el_int8_kernels *tables[] = {&el_int8_kernels_avxvnni, &el_int8_kernels_avx512vnni};
  const size_t reductions[] = {64, 96, 576, 1088, 2112}, widths[] = {1, 15, 16, 17, 31, 32};
  float *expected = malloc(1 << 24), *result = malloc(1 << 24), codebook[16];
  for (int i = 0; i < 16; i++) codebook[i] = i == 15 ? 1 : (float)i / 7.9f - 0.95f;
  for (el_codes codes = EL_F32; codes <= EL_NF4; codes++)
    for (size_t r = 0; r < 5; r++)
      for (size_t m = 1; m <= 25; m = m < 9 ? m + 1 : m * 2 - 3) {
        size_t k = reductions[r], rows = 37 + 64 * (m % 3);
        el_matrix w = {.codes = codes, .scale_type = EL_SCALE_F32, .rows = rows, .columns = k, .group = k,
                       .codebook = codebook, .nested_group = 1};
        if (codes == EL_NF4 || codes == EL_INT4) w.group = k % 64 == 0 ? 64 : 32;
        void *data = fill(rows * k * 4), *scales = fill(rows * k / 32 * 4);
        for (size_t i = 0; i < rows * k / 32; i++) ((float *)scales)[i] = uniform() * 0.01f + 0.02f;
        if (codes == EL_F32)
          for (size_t i = 0; i < rows * k; i++) ((float *)data)[i] = uniform();
        if (codes == EL_F16 || codes == EL_BF16)
          for (size_t i = 0; i < rows * k; i++) ((uint16_t *)data)[i] &= 0xbbff;
        if (codes == EL_INT8)
          for (size_t i = 0; i < rows * k; i++)
            if (((int8_t *)data)[i] == -128) ((int8_t *)data)[i] = 0;
        w.data = data, w.scales = scales;
        for (int transposed = 0; transposed < 2; transposed++) {
          size_t width = transposed ? 32 : widths[(m + r) % 6];
          size_t n = run(&el_int8_kernels_portable, w, transposed, m, width, expected);
          for (int t = 0; t < 2; t++) {
            run(tables[t], w, transposed, m, width, result);
            equal(transposed ? "columns" : "rows", tables[t]->name, codes, expected, result, n);
          }
        }
        free(data), free(scales);
      }
  printf("%d of %d comparisons differ\n", failures, checks);
  return failures > 0;
}
