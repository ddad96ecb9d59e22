/** A browser and Couchbase's Node client change the same documents at the same time. */
import { conflicts } from "../platform/conflicts.ts";
import { onCouchbase } from "./cluster.ts";

conflicts(onCouchbase);
