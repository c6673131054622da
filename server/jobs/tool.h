/* Short runs of `webml` on behalf of a request: each in a process of its own, a few at a time. */
#ifndef SERVER_JOBS_TOOL_H
#define SERVER_JOBS_TOOL_H

#include "api/api.h"
#include "process.h"

bool tools_start(api *a);
/* Ends those that run; later ones are not started. Whoever waits for one returns soon. */
void tools_stop(api *a);
/* When nobody waits any more. */
void tools_free(api *a);

/* Starts a process and waits for it: its exit code, 128 + the signal that ended it, 127 with a
 * sentence when it cannot be started, -1 when the server stops. */
int tool_wait(api *a, const process_spec *spec, char *error, size_t error_size);

/* Runs `webml` with these words (at most 30, then NULL). A description is written to a file, whose
 * path stands for the word TOOL_MODEL. What it prints is in *output (free(); may be NULL), with a
 * NUL behind its *size bytes. False with a sentence, and the status for the client in *status. */
#define TOOL_MODEL "{model}"
bool tool_run(api *a, const char *description, const char *const *words, char **output,
              size_t *size, int *status, char *error, size_t error_size);
/* The same where it prints JSON; NULL: the call has been answered. */
json_t *tool_json(api_call *call, const char *description, const char *const *words);

#endif
