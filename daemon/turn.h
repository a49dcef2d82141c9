/* SPDX-License-Identifier: MIT */
/*
 * Whose turn it is: connections that are ready are looked at user by user, one message each, so that who
 * has a thousand of them, or sends a thousand messages, is served no sooner than who has one.
 */
#pragma once

#include <stdbool.h>

#include "daemon/server.h"

/* Puts a connection that is held (loop.h) behind those of its user that are ready; fine if it is there. */
void gd_turn_add(struct gd_peer *peer, short events);
/* Takes it out; fine if it is not there. */
void gd_turn_remove(struct gd_peer *peer);

/* Does one turn's share of what is to be done. Returns whether more is left: rest of loop.h. */
bool gd_turn_serve(void *server);

/* Has server's loop do that; before the first connection. */
void gd_turn_init(struct gd_server *server);
