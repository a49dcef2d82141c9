/* SPDX-License-Identifier: MIT */
/* What bench-clients' parts share: connections, and those that misbehave. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the daemon listens. */
extern const char *bench_socket;

uint64_t bench_now_ns(void);
__attribute__((noreturn)) void bench_die(const char *what);

/* A new connection, or -1 with errno. It blocks until there is room in the queue. */
int bench_connect(void);
/* Asks for the only model. Returns whether it could be sent. */
bool bench_ask(int fd);
/* Receives one answer and closes its descriptors. Returns how many there were; -1: none came. */
int bench_take_answer(int fd);
/* Connects, asks, takes the two descriptors and closes all. Returns whether it went so. */
bool bench_hello(void);

/* Raises the soft limit of descriptors to the hard one. */
void bench_raise_fd_limit(void);

/*
 * Misbehaves as kind says until end_ns (bench_now_ns) and returns how often it did; kinds are never-read,
 * garbage, descriptors, loris, questions, spin (talks to nobody) and storm. pause_us: between two acts.
 */
uint64_t bench_flood(const char *kind, unsigned pause_us, uint64_t end_ns);
/* Whether there is that kind. */
bool bench_is_flood(const char *kind);
