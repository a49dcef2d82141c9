/* SPDX-License-Identifier: MIT */
/*
 * deny_uring ERRNO PROGRAM [ARGUMENT...]: runs a program for which io_uring_setup(2) fails with that
 * errno, as container runtimes (EPERM) and old kernels (ENOSYS) have it.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	unsigned refusal = argc > 2 ? (unsigned)strtoul(argv[1], NULL, 10) & SECCOMP_RET_DATA : 0;
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refusal),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof filter / sizeof *filter, .filter = filter };

	if (!refusal) {
		fprintf(stderr, "usage: deny_uring ERRNO PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program)) {
		fprintf(stderr, "deny_uring: no seccomp filter: %s\n", strerror(errno));
		return 77;
	}
	execv(argv[2], argv + 2);
	fprintf(stderr, "deny_uring: cannot run %s: %s\n", argv[2], strerror(errno));
	return 1;
}
