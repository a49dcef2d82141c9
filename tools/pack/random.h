/* SPDX-License-Identifier: MIT */
/*
 * Normally distributed numbers that are the same on every machine: integer arithmetic, and of
 * floating point only + - * / and sqrt, which IEEE 754 rounds in one way. No function of libm but
 * sqrt, whose result is as fixed. Described in gpt2-pack(1), INITIALISATION; changing it changes
 * what a seed means.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct pack_random {
	uint64_t state[4]; /* xoshiro256** (Blackman and Vigna) */
};

/* A stream of its own for every row of every table. table: enum gw_role. */
void pack_random_start(struct pack_random *random, uint64_t seed, uint64_t table, uint64_t row);

uint64_t pack_random_next(struct pack_random *random);

/* n numbers of mean 0 and the given standard deviation. */
void pack_random_normal(struct pack_random *random, double stddev, float *out, size_t n);

/* The natural logarithm of a normal number above 0, to within 2 units in the last place. */
double pack_random_log(double value);
