// What a processor can do at most: loops that keep every operand in registers, and one that only reads.
#ifndef EDGELORA_CEILINGS_H
#define EDGELORA_CEILINGS_H

#include <stddef.h>
#include <stdint.h>

// Multiplies and adds bytes with the best instructions of an int8 table ("sse42", "avx2", "avxvnni", "avx512vnni",
// "neon", "dotprod", "i8mm"), which this machine must be able to run, `rounds` times; returns the number of multiply-adds, 0 for
// another name.
uint64_t el_peak_int8(const char *name, uint64_t rounds);
// The same for fused multiply-adds of floats; name is a float table's ("sse42", "avx2", "avx512", "avx512bf16",
// "neon").
uint64_t el_peak_fp32(const char *name, uint64_t rounds);
// Reads `bytes`, a multiple of 64; returns something that depends on them.
uint64_t el_read_all(const void *memory, size_t bytes);

#endif
