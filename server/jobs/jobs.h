/* Training jobs: each is `webml train` in a folder and a process of its own. Everything about a job
 * is in its row and its folder (data_dir/jobs/<session>), so that a server that starts again goes
 * on where the one before it stopped: a process that still runs is watched again, one that ended is
 * accounted for, one that was interrupted resumes from its checkpoint.
 *
 * Whether a process runs is asked of a lock that it holds from start to end, never of its number.
 */
#ifndef SERVER_JOBS_JOBS_H
#define SERVER_JOBS_JOBS_H

#include "api/api.h"

/* Starts the queue and takes up what is there. False: store_error(). The queue is round-robin over
 * users, first come first served within one; what does not fit yet is passed by others only where
 * that cannot delay it. */
bool jobs_start(api *a);
/* Leaves running trainings alone: they go on without the server. */
void jobs_stop(api *a);
/* Something has changed: a session waits, or was cancelled. Any thread. */
void jobs_wake(api *a);
/* A training that runs. */
typedef struct job_run {
  int64_t session, owner, pid; /* pid: 0 until it is known */
  int64_t need_cpu, need_gpu;  /* bytes; what was computed for it */
  char device[96];             /* "cpu" or a GPU's UUID */
} job_run;

/* Those that run now; their number, at most `most`. */
int jobs_running(api *a, job_run *list, int most);
/* No training starts from here on until jobs_resume(). False: some run, and nothing has changed. */
bool jobs_pause(api *a);
void jobs_resume(api *a);
/* Devices were looked at: memory that others gave back may be what a session waits for. */
void jobs_devices_changed(api *a);
/* Path of a file in a session's folder. */
void jobs_path(const api *a, int64_t session, const char *file, char *path, size_t size);
/* Folders of sessions that are gone go, too; those whose process still runs are left to it. */
void jobs_tidy(api *a);
/* Removes a session's folder. */
void jobs_remove(const api *a, int64_t session);

#endif
