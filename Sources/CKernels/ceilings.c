// Loops that show what a processor can do at most. They are assembly: a compiler would fold them.
#include "include/ceilings.h"

#include <string.h>

#define FOUR(OP) OP(0) OP(1) OP(2) OP(3)
#define EIGHT(OP) FOUR(OP) OP(4) OP(5) OP(6) OP(7)
#define SIXTEEN(OP) EIGHT(OP) OP(8) OP(9) OP(10) OP(11) OP(12) OP(13) OP(14) OP(15)

#if defined(__x86_64__)

#define ASSEMBLY(NAME, TARGET, START, BODY, END)                                                               \
  __attribute__((target(TARGET), noinline)) static void NAME(uint64_t rounds) {                                \
    __asm__ volatile(START "1:\n" BODY BODY BODY BODY "dec %0\n jnz 1b\n" END                                   \
                     : "+r"(rounds)                                                                            \
                     :                                                                                         \
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",   \
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                                  \
  }
#define LOOP(NAME, TARGET, BODY) \
  ASSEMBLY(NAME, TARGET, "vpxor %%xmm14, %%xmm14, %%xmm14\n vpxor %%xmm15, %%xmm15, %%xmm15\n", BODY, "vzeroupper\n")
#define LOOP128(NAME, BODY) \
  ASSEMBLY(NAME, "sse4.2", "pxor %%xmm14, %%xmm14\n pxor %%xmm15, %%xmm15\n", BODY, "")

// Accumulators 0 to 7, products in 8 to 11: renaming keeps the chains apart.
#define MADD(I)                                                                                                  \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm8\n vpmaddwd %%ymm8, %%ymm15, %%ymm8\n vpaddd %%ymm8, %%ymm" #I ", %%ymm" #I "\n"
#define VNNI256(I) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #I "\n"
#define VNNI512(I) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #I "\n"
#define FMA256(I) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #I "\n"
#define FMA512(I) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #I "\n"
#define TWELVE(OP) EIGHT(OP) OP(8) OP(9) OP(10) OP(11)

// Instructions of two operands write over one of them, so a copy goes first, which a processor renames.
#define MADD128(I) \
  "movdqa %%xmm15, %%xmm8\n pmaddubsw %%xmm14, %%xmm8\n pmaddwd %%xmm15, %%xmm8\n paddd %%xmm8, %%xmm" #I "\n"
#define FMA128(I) "movaps %%xmm15, %%xmm8\n mulps %%xmm14, %%xmm8\n addps %%xmm8, %%xmm" #I "\n"

LOOP128(int8_sse42, EIGHT(MADD128))
LOOP128(fp32_sse42, EIGHT(FMA128))
LOOP(int8_avx2, "avx2", EIGHT(MADD))
LOOP(int8_avxvnni, "avx2", TWELVE(VNNI256))
LOOP(int8_avx512vnni, "avx512f,avx512vnni", TWELVE(VNNI512))
LOOP(fp32_avx2, "avx2,fma", TWELVE(FMA256))
LOOP(fp32_avx512, "avx512f", TWELVE(FMA512))

typedef struct {
  const char *name;
  void (*run)(uint64_t rounds);
  uint64_t products;  // of one round
} loop;
static const loop int8_loops[] = {{"sse42", int8_sse42, 4 * 8 * 16},
                                  {"avx2", int8_avx2, 4 * 8 * 32},
                                  {"avxvnni", int8_avxvnni, 4 * 12 * 32},
                                  {"avx512vnni", int8_avx512vnni, 4 * 12 * 64}};
static const loop fp32_loops[] = {{"sse42", fp32_sse42, 4 * 8 * 4},
                                  {"avx2", fp32_avx2, 4 * 12 * 8},
                                  {"avx512", fp32_avx512, 4 * 12 * 16},
                                  {"avx512bf16", fp32_avx512, 4 * 12 * 16}};

#elif defined(__aarch64__)

#define LOOP(NAME, TARGET, BODY)                                                                                 \
  __attribute__((target(TARGET), noinline)) static void NAME(uint64_t rounds) {                                  \
    __asm__ volatile("movi v30.4s, #0\n movi v31.4s, #0\n"                                                       \
                     "1:\n" BODY BODY BODY BODY "subs %0, %0, #1\n b.ne 1b\n"                                    \
                     : "+r"(rounds)                                                                              \
                     :                                                                                           \
                     : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",    \
                       "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v30", "v31"); \
  }

#define LOW(I) "smull v1" #I ".8h, v30.8b, v31.8b\n"
#define HIGH(I) "smlal2 v1" #I ".8h, v30.16b, v31.16b\n"
#define ADD(I) "sadalp v" #I ".4s, v1" #I ".8h\n"
#define SDOT(I) "sdot v" #I ".4s, v30.16b, v31.16b\n"
#define SMMLA(I) "smmla v" #I ".4s, v30.16b, v31.16b\n"
#define FMLA(I) "fmla v" #I ".4s, v30.4s, v31.4s\n"

LOOP(int8_neon, "neon", EIGHT(LOW) EIGHT(HIGH) EIGHT(ADD))
LOOP(int8_dotprod, "dotprod", SIXTEEN(SDOT))
LOOP(int8_i8mm, "i8mm", SIXTEEN(SMMLA))
LOOP(fp32_neon, "neon", SIXTEEN(FMLA))

typedef struct {
  const char *name;
  void (*run)(uint64_t rounds);
  uint64_t products;  // of one round
} loop;
static const loop int8_loops[] = {
    {"neon", int8_neon, 4 * 8 * 16}, {"dotprod", int8_dotprod, 4 * 16 * 16}, {"i8mm", int8_i8mm, 4 * 16 * 32}};
static const loop fp32_loops[] = {{"neon", fp32_neon, 4 * 16 * 4}};

#else

typedef struct {
  const char *name;
  void (*run)(uint64_t rounds);
  uint64_t products;
} loop;
static const loop int8_loops[] = {{"", 0, 0}}, fp32_loops[] = {{"", 0, 0}};

#endif

static uint64_t run(const loop *loops, size_t count, const char *name, uint64_t rounds) {
  for (size_t i = 0; i < count; i++)
    if (loops[i].run && rounds > 0 && strcmp(loops[i].name, name) == 0) {
      loops[i].run(rounds);
      return rounds * loops[i].products;
    }
  return 0;
}

uint64_t el_peak_int8(const char *name, uint64_t rounds) {
  return run(int8_loops, sizeof int8_loops / sizeof *int8_loops, name, rounds);
}

uint64_t el_peak_fp32(const char *name, uint64_t rounds) {
  return run(fp32_loops, sizeof fp32_loops / sizeof *fp32_loops, name, rounds);
}

uint64_t el_read_all(const void *memory, size_t bytes) {
  const uint64_t *p = (const uint64_t *)memory;
  uint64_t s[8] = {0};
  for (size_t i = 0; i < bytes / 8; i += 8)
    for (size_t j = 0; j < 8; j++) s[j] ^= p[i + j];
  return s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7];
}
