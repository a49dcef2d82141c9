/* SPDX-License-Identifier: MIT */
/* The daemon's caps, each with its reason. */
#pragma once

/* The kernel walks at most 2048 entries of a robust-futex list (ROBUST_LIST_LIMIT, linux/futex.h),
 * and each model's notice board is one. */
#define GD_MAX_MODELS 1024
/* Connections that wait for accept. Long enough for a pool of workers that starts at once, short
 * enough that a connect storm delays others by little: the queue is first come, first served. */
#define GD_BACKLOG 64
/* Connections taken in before those that are ready are looked at. */
#define GD_ACCEPTS_PER_TURN 16
/* What may be done for users, one after the other, before it is looked who is ready meanwhile: to attach
 * takes about 7 us, a connection that has only ended a fifth of that; all else is an exception, or a
 * mistake with hundreds of descriptors. */
#define GD_TURN_COST 48
#define GD_ATTACH_COST 6
#define GD_END_COST 1
/* Messages read and thrown away when a connection is ended. */
#define GD_DRAINED_MESSAGES 64
/* How long nobody is taken in after accepting has failed; others are served meanwhile. */
#define GD_ACCEPT_PAUSE_MS 100
/* When a descriptor that could not be watched, for want of memory, is tried again. */
#define GD_ARM_AGAIN_MS 100
/* Connections with answers that were not read, looked at before connections are taken in, and before a
 * user is told that he has too many. */
#define GD_LEAVING_PER_TURN 16
#define GD_SETTLED_PER_REQUEST 32
/* When ended ones are looked at again though nobody connects, and how many. */
#define GD_LEAVING_LOOK_MS 100
#define GD_LEAVING_PER_LOOK 256
/* Bytes of unread answers that the kernel holds for a peer; it doubles the number. A dozen answers;
 * a client that reads its answers has one. */
#define GD_SEND_BUFFER_BYTES 16384
/* Descriptors that the daemon keeps for itself, up to a quarter of RLIMIT_NOFILE: image and board of
 * each model; the loop, files that are being loaded, answers under way. The rest is for connections. */
#define GD_RESERVED_FDS (2 * GD_MAX_MODELS + 64)
/* What --max-connections is at the most: the size of the loop's table. */
#define GD_MAX_CONNECTIONS 65536
/* Answers that a user has not read, of each connection that he may have: who reads has one or two. And
 * the most that --max-unread-replies-per-user takes, which is some gigabytes. */
#define GD_UNREAD_REPLIES 4
#define GD_MAX_UNREAD_REPLIES (1 << 20)
/* A user may hold this fraction of all connections, and of the descriptors in unread answers that the
 * kernel allows the daemon (RLIMIT_NOFILE; beyond it every sendmsg fails with ETOOMANYREFS). */
#define GD_USER_SHARE 4
/* Lines a second about what one user's peers do, and about all; users of whom account is kept at once. */
#define GD_LOG_USER_BURST 20
#define GD_LOG_PEERS_BURST 100
#define GD_LOG_USERS 64
/* Who could not start under a service manager ends so much later. */
#define GD_LINGER_S 1
/* Bytes of an image that a worker reads at a time. */
#define GD_COPY_BYTES (1u << 20)
/* Memory that a worker takes at a time, of 2 MiB pages; every piece of it is a round of all processors
 * for the kernel (MADV_COLLAPSE empties their lists of new pages), so not a page at a time. */
#define GD_RESERVE_BYTES (UINT64_C(1) << 25)
/* Worker threads per load, at the most: memory bandwidth is exhausted well before. */
#define GD_MAX_WORKERS 16
/* How often the kernel is asked whether generations that are served no longer are still held. */
#define GD_RETIRED_LOOK_MS 200
/* What images may take of a machine whose control groups set no limit: programs need the rest. */
#define GD_MEMORY_SHARE_PERCENT 75
/* What generations that are served no longer may take of that: one fraction for what was, the rest for
 * what is and what comes. */
#define GD_RETIRED_SHARE 2
/* How long the directory must be calm after a pack has come, before it is looked at; and at the most. */
#define GD_CALM_MS 100
#define GD_CALM_MOST_MS 2000
/* Descriptors that the service manager may pass: sockets, and what a daemon before us stored. */
#define GD_MAX_PASSED_FDS 8192
/* When the service manager is tried again that did not take a message, or is to know that a load ended. */
#define GD_NOTIFY_AGAIN_US 200000
/* How long it is asked to wait on, again and again while packs are loaded for the first time. */
#define GD_NOTIFY_EXTEND_US 60000000
/* Reads of about 1 MiB that each worker has under way: enough for a disk to be busy. A guess. */
#define GD_READS 4
