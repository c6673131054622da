/* Data sets on the server: data_dir/datasets/<id>/data.<suffix>. */
#ifndef SERVER_API_DATASETS_H
#define SERVER_API_DATASETS_H

#include "api.h"

/* Letters, digits and " ._-"; see api_field. */
bool api_is_name(const char *text);

/* The path of a data set's file. */
void dataset_path(const api *a, int64_t id, const char *file, char *path, size_t size);

/* The path of one that is ready and the caller's, or public. False: answered (404). */
bool dataset_find_ready(api_call *call, int64_t id, char *path, size_t size);
/* Where one picture of a class can be had. */
json_t *dataset_sample_link(int64_t id, const char *class, int64_t index);

/* False: the call was answered (409: the name is the caller's already, or a public one's). */
bool dataset_name_is_free(api_call *call, const char *name);
/* False: answered (413: so many bytes more are over the account's share). */
bool dataset_quota(api_call *call, int64_t bytes);
/* A whole upload becomes a data set, which is then looked at in a process of its own; its owner
 * hears of the result. False: answered. */
bool dataset_finish(api_call *call, const json_t *upload, const char *path);
/* After a start: data sets that were being looked at are looked at again; files that belong to
 * nothing go. False: store_error(). */
bool datasets_recover(api *a);
/* Ends what looks at data sets; the next start looks again. */
void datasets_stop(api *a);
/* Files that belong to no row any more go: after an account was deleted with all that it owned. */
void datasets_tidy(api *a);

#endif
