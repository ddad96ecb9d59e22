/** A browser and another application, by one of Couchbase's own clients, change the same documents at the same time. */
import { conflicts } from "../platform/conflicts.ts";
import { onCouchbase } from "./cluster.ts";

conflicts(onCouchbase);
