/* SPDX-License-Identifier: MIT */
#include "tools/pack/random.h"

#include <math.h>
#include <string.h>

/* 2^64 divided by the golden ratio, odd: the increment of splitmix64 (Steele, Lea, Flood 2014). */
#define PACK_GAMMA UINT64_C(0x9e3779b97f4a7c15)

/* splitmix64's output for the state value. */
static uint64_t pack_mix(uint64_t value)
{
	value += PACK_GAMMA;
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

void pack_random_start(struct pack_random *random, uint64_t seed, uint64_t table, uint64_t row)
{
	uint64_t key = pack_mix(pack_mix(pack_mix(seed) ^ table) ^ row);

	for (unsigned i = 0; i < 4; i++)
		random->state[i] = pack_mix(key + i * PACK_GAMMA);
}

static uint64_t pack_rotate(uint64_t value, unsigned n)
{
	return value << n | value >> (64 - n);
}

uint64_t pack_random_next(struct pack_random *random)
{
	uint64_t *s = random->state;
	uint64_t result = pack_rotate(s[1] * 5, 7) * 9;
	uint64_t shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = pack_rotate(s[3], 45);
	return result;
}

double pack_random_log(double value)
{
	/* ln 2 in two parts, so that exponent * high is exact (fdlibm's constants) */
	static const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
	/* of atanh f = f + f^3/3 + f^5/5 …, from the far end */
	static const double series[] = { 1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
					 1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3 };
	uint64_t bits;
	double exponent, f, f2, sum = 0.0;

	memcpy(&bits, &value, sizeof bits);
	/* value = m * 2^exponent with m in [sqrt(1/2), sqrt(2)): 0x3fe6a09e... is sqrt(1/2) */
	bits -= UINT64_C(0x3fe6a09e00000000);
	exponent = (double)((int64_t)bits >> 52);
	bits = (bits & UINT64_C(0x000fffffffffffff)) + UINT64_C(0x3fe6a09e00000000);
	memcpy(&value, &bits, sizeof value);
	/* ln m = 2 atanh f with |f| < 0.1716: the first term left out is below 2^-60 */
	f = (value - 1.0) / (value + 1.0);
	f2 = f * f;
	for (size_t i = 0; i < sizeof series / sizeof series[0]; i++)
		sum = sum * f2 + series[i];
	return exponent * ln2_high + (2.0 * f + (2.0 * f * f2 * sum + exponent * ln2_low));
}

/* 53 random bits as a number of [-1, 1); exact. */
static double pack_random_signed(struct pack_random *random)
{
	return (double)(pack_random_next(random) >> 11) * 0x1p-52 - 1.0;
}

void pack_random_normal(struct pack_random *random, double stddev, float *out, size_t n)
{
	double u, v, s, factor;

	/* Marsaglia's polar method: two numbers from a point in the unit circle */
	for (size_t i = 0; i < n; i += 2) {
		do {
			u = pack_random_signed(random);
			v = pack_random_signed(random);
			s = u * u + v * v;
		} while (s >= 1.0 || s == 0.0);
		factor = sqrt(-2.0 * pack_random_log(s) / s);
		out[i] = (float)(stddev * (u * factor));
		if (i + 1 < n)
			out[i + 1] = (float)(stddev * (v * factor));
	}
}
