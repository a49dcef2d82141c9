/* SPDX-License-Identifier: MIT */
/* How calls.c and calls_ring.c say what a call's failures are. */
#pragma once

#include <errno.h>
#include <stdbool.h>

#include "inject.h"

#define LASTING(...) (const int[]){ __VA_ARGS__, 0 }
#define PASSING(...) (const int[]){ __VA_ARGS__, 0 }
#define NONE (const int[]){ 0 }
#define NO_MEMORY LASTING(ENOMEM)
#define NO_DESCRIPTOR LASTING(EMFILE, ENFILE, ENOMEM)

#define FAILS(name, ...) inject_fails(name, __builtin_return_address(0), __VA_ARGS__)

#define DECLARE(type, name, parameters)                                                            \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;

/* A function that is not called when it is to fail: then it returns failed, which may use error. */
#define WRAP(type, name, parameters, arguments, failed, lasting, passing)                          \
	DECLARE(type, name, parameters)                                                            \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		int error;                                                                         \
                                                                                                   \
		if (!FAILS(#name, lasting, passing, false, &error))                                \
			return __real_##name arguments;                                            \
		errno = error;                                                                     \
		return failed;                                                                     \
	}

/* One that is called all the same, and then said to have failed: nobody could do it again. */
#define WRAP_DONE(name, parameters, arguments, lasting, spared)                                    \
	DECLARE(int, name, parameters)                                                             \
	int __wrap_##name parameters                                                               \
	{                                                                                          \
		int error, done = __real_##name arguments;                                         \
                                                                                                   \
		if (!FAILS(#name, lasting, NONE, spared, &error))                                  \
			return done;                                                               \
		errno = error;                                                                     \
		return -1;                                                                         \
	}
