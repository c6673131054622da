/* What the other resources ask of data sets. */
#ifndef SERVER_API_DATASETS_H
#define SERVER_API_DATASETS_H

#include "api.h"

/* The path of one that is ready and the caller's, or public. False: answered (404). */
bool dataset_path_of_ready(api_call *call, int64_t id, char *path, size_t size);
/* Where one picture of a class can be had. */
json_t *dataset_sample_link(int64_t id, const char *class, int64_t index);

/* False: the call was answered (409: the name is the caller's already, or a public one's). */
bool dataset_name_is_free(api_call *call, const char *name, int64_t except);

#endif
