/* page - the status page that the daemon serves at "/": HTML, style and script in one text that
 * asks for nothing but /status.json, which is `zstor status --json` and `local_only`. */
#ifndef ZSTOR_DAEMON_PAGE_H
#define ZSTOR_DAEMON_PAGE_H

extern const char page_html[];

#endif
