/* replay - which closed segments zdb has yet to read.  After a crash zdb plays the data behind the
 * watermark of a namespace (common/watermark.h), and may begin later than zstor: a segment that is
 * gone by then takes acknowledged writes with it.  Stateless; any thread. */
#ifndef ZSTOR_CACHE_REPLAY_H
#define ZSTOR_CACHE_REPLAY_H

#include "zstor/conf.h"

/* segment: real path of a closed segment under zdb_data_dir_path.  True: its index is not known to
 * be on disk as a whole, or that cannot be told.  False without zdb_index_dir_path, or a watermark
 * (the original writes none). */
bool replay_needs(const struct zstor_conf *c, const char *segment);

#endif
