/* Jobs: each is `webml train` or `webml evaluate` in a folder and a process of its own. Everything
 * about a job is in its row and its folder (data_dir/jobs/<session>), so that a server that starts
 * again goes on where the one before it stopped: a process that still runs is watched again, one
 * that ended is accounted for, one that was interrupted resumes from its checkpoint.
 *
 * Whether a process runs is asked of a lock that it holds from start to end, never of its number.
 * Any thread. */
#ifndef SERVER_JOBS_JOBS_H
#define SERVER_JOBS_JOBS_H

#include "context/context.h"
#include "devices/monitor.h"

typedef struct jobs jobs;

/* Takes up what is there and starts the queue, which is round-robin over users, first come first
 * served within one; what does not fit yet is passed by others only where that cannot delay it.
 * From here on the monitor is told what runs. NULL: store_error(). */
jobs *jobs_create(const context *c, monitor *m);
/* Leaves running trainings alone: they go on without the server. When the monitor has stopped. */
void jobs_destroy(jobs *j);

/* Something has changed: a session waits, or was cancelled. */
void jobs_wake(jobs *j);
/* The share of its work that a session's process has done; NAN: none runs, or it has not told. */
double jobs_progress(jobs *j, int64_t session);
/* No training starts from here on until jobs_resume(). False: some run, and nothing has changed. */
bool jobs_pause(jobs *j);
void jobs_resume(jobs *j);

/* Folders of sessions that are gone go, too; those whose process still runs are left to it. */
void jobs_tidy(jobs *j);
/* The file in a session's folder whose weights it starts from or evaluates, where there is one. */
#define JOB_FIRST_WEIGHTS "first.safetensors"
/* Removes a session's folder. */
void jobs_remove(const jobs *j, int64_t session);

#endif
