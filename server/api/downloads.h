/* Files that are being sent: each ends with the log-in, or the token, that it was asked for with.
 */
#ifndef SERVER_API_DOWNLOADS_H
#define SERVER_API_DOWNLOADS_H

#include "api.h"

bool api_downloads_start(api *a);
/* After the web server has ended, and with it every download. */
void api_downloads_stop(api *a);

/* One that begins for this account. False: no memory. */
bool api_download_begin(api *a, const api_user *user, http_watch *watch);
/* Once a second: those whose log-in has ended end. */
void api_downloads_tend(api *a, int64_t now);

#endif
