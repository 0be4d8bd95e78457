// AVX-VNNI's one instruction in terms of AVX2: four products of unsigned and signed bytes added to each lane, exact.
#ifndef EDGELORA_DPBUSD_H
#define EDGELORA_DPBUSD_H
#include <immintrin.h>

static inline __m256i emulated_dpbusd(__m256i s, __m256i u, __m256i v) {
  // even and odd bytes as 16 bits, pairs of whose products fit 32
  __m256i low = _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8));
  __m256i high = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(v, 8));
  return _mm256_add_epi32(s, _mm256_add_epi32(low, high));
}
#define _mm256_dpbusd_avx_epi32 emulated_dpbusd
#endif
