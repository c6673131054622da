/* What the kernel that runs has to confine processes with. */
#ifndef SERVER_SANDBOX_KERNEL_H
#define SERVER_SANDBOX_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

/* The version of Landlock's interface; 0: there is none. */
int kernel_landlock(void);
/* Whether system calls can be filtered, on an architecture whose calls are known here. */
bool kernel_seccomp(void);
/* Both in a sentence. */
void kernel_describe(char *text, size_t size);

#endif
