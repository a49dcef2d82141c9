/* SPDX-License-Identifier: MIT */
/* Signals that end a tool must not leave its temporaries behind. */
#pragma once

/*
 * SIGHUP, SIGINT, SIGQUIT, SIGPIPE and SIGTERM remove all temporaries (gw_outfile_remove_all) and
 * then end the process as they would have; those that were ignored at the start stay so (nohup).
 * SIGXFSZ is ignored: a write beyond the file-size limit fails with EFBIG instead and is cleaned up
 * after.
 */
void tool_signals_install(void);
