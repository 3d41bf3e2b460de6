// SPDX-License-Identifier: GPL-2.0
/*
 * First process of a 32-bit guest: "init SECONDS PROGRAM..." runs each kselftest
 * for at most that time, prints its exit status, and finally resets the machine,
 * which makes QEMU exit; not every machine can be switched off.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;

static void too_long(int sig)
{
	kill(-child, SIGKILL);
}

static int run(const char *program, unsigned int seconds)
{
	int status = -1;

	child = fork();
	if (!child) {
		setpgid(0, 0);
		execl(program, program, NULL);
		_exit(127);
	}
	alarm(seconds);
	while (waitpid(child, &status, 0) != child)
		;
	alarm(0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	int i, code;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/tmp", 01777);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
	setvbuf(stdout, NULL, _IONBF, 0);
	signal(SIGALRM, too_long);
	for (i = 2; i < argc; i++) {
		code = run(argv[i], atoi(argv[1]));
		printf("# %s ended with %d\n", argv[i], code);
	}
	sync();
	reboot(RB_AUTOBOOT);
	return 0;
}
