"""The facts: the vocabulary of a REST API. Data only.

These are ordinary words of English and of the platform, as the public documentation of its API uses them. A recording keeps
only these words of a workspace's answers (`obo_kit.scopes._placeholders`), so no name of a person or an object may be added.
"""

from __future__ import annotations

from typing import Final

__all__ = ["WORDS"]

WORDS: Final[frozenset[str]] = frozenset(  # as one text: a list with a word per line could not be read
    """
a able aborted about above absent absolute accepted accepts access accessed accessible accessing account accounts
acl acls acquires across action activation active activities activity actor actual add added adding addition
additional additionally address addresses admin administrator administrators admins ads after afterwards again
against agent agents aggregation ai aim aims aip alert alerts alias aliases all allow allowed allowlist allows along
alphanumeric already also always amazon an analysis analytics and annotation annotations another answer any api apis
app appear appears applicable application applications applied applies apply applying appropriate approval approve
approved approximate apps archived are arg args argument array arrays arrives artifact artifacts as asc ascending
ask asset assets assign assigned assigning assignment assignments assigns assistant assistants associate associated
asynchronous asynchronously at atomically attach attached attachment attempt attempts attribute attributes audit
auth authenticate authenticated authentication author authorised authorization authorized auto autoloader automated
automatic automatically autoscale autoscaling availability available avoid aws azure back backed backend backfill
backing bad base based basic batch be bearer because become becomes been before begins behalf
behavior behind being belongs below benchmark best between billable billing bind binding bindings block blocked
blocking blocks body bool boolean both bound branch browse bucket budget bug bundle but by byte bytes call called
caller callers calling calls can cancel canceled cancelled cancels cannot canonical capabilities capped captured
carries carry carrying case cases cast catalog catalogs category cause caused cdf centralized certain change changed
changes changing channel characters chat check checked checking checkout child choose chunk cidr claims clamped
class classic classification clean cleared clears client clients cloud cluster clusters code codes coerced
collection column columns combination combined command commands commas comment comments common compatible complete
completed completes completion compliance compliant component compute computed computes concatenation concurrency
concurrent concurrently condition conditional conditions config configs configurable configuration configurations
configure configured configures configuring confirm conflict conflicts connect connecting connection connections
connectivity connector considered consist consistent console consumer contact contain container containing contains
content contents context continuation continue continuous control controls conversation convert copy corresponding
corresponds cost costs could count counts create created creates creating creation creator credential credentials
criteria cron crud csp current currently custom customize dashboard dashboards dashes data database databricks
datarooms dataset datasets datasource datatype date day days dbfs dbt dbutils declarative default defaults define
defined defines definition definitions definitive delegate delete deleted deletes deleting deletion deletions
delivered delivery delta demand denied denies deny dependencies dependency dependent depending depends deploy
deployed deployment deprecated derives desc descending described describes describing description descriptions
deserializes desired destination destinations detail detailed details detection determine determined determines
development dict dictionary did didn differ different direct direction directly directories directory disable
disabled disables disabling disallowed disk disks display displayed displayname disposition distinct do document
documentation documented documents does doesn domain domains don done dot down download draft driver due duplicate
duration during each easier ebs edit edited effect effective either elastic elements eliminates email emails
embedded embedding embeddings empty en enable enabled enables enabling encapsulates encoded encountered encryption
end endpoint endpoints enforce enforced enforcement enhanced ensure ensures enterprise entire entities entitled
entitlement entitlements entity entra entries entry enum envelope environment environments epoch eq equal equals
equivalent error errors etag etc evaluated evaluates evaluation even event events every exact exactly example
examples exceed exceeded except exception exchange exchanges exclude exclusive exec execute executed executing
execution executors exist existing exists expected experience experiment experiments expiration expire expired
expires explicit explicitly explorer export exported exposed exposes expressed expression expressions external extra
fail failed failover fails failure failures fallback false family fast favor feature features federation feed
feedback fetch fetched fetches fetching few fewer field fields file files filesystem filter filtered filtering
filters final find finish first flag flexible float flow folder folders follow following follows for forbidden force
forecasting form format formats formed forwarded found foundation fresh from full fullname fully function functions
further future gateway gb gcp general generate generated generates generic genie get gets git gitlab give given
global go gone google governed gpu grant granted grants greater group groups gte guarantee guaranteed guardrail
guidelines handle happen has have having head header headers health held help helper here high higher history hive
holds host hosted hour hours how however http https hybrid hyphens i iam id idempotency idempotent identified
identifier identifies identify identifying identities identity idle ids ietf if ignored image immediate immediately
immutable impact implemented import important in include included includes including inclusion increase indefinitely
independent independently index indexes indicate indicates indicating indication individual individually inference
info information ingestion ingress inherit inherited init initial initialization inline input inside install
installations installed instance instances instead instructions insufficient int integer integration intended
intentionally interact interactive interest interface internal internet into invalid invocation invoke ip is issue
it item items iterator its itself jar job jobs json jwt kafka kb keep keeps key keys kind kit knowledge label lack
lacking lacks lakebase lakeview language large larger last later latest latter launch launched
least leave leaves legacy length less lets letter letters level levels libraries library lifecycle lifetime like
limit limitations limited limits lineage link links list listed listing listings lists literal live lives llm local
located location locations lock log logged logging logical login logs long longer look lookup low lower lowercase
machine made main maintained make makes making malformed manage managed management manager managers manages managing
manifest manually many map mapping maps marked marketplace marks mask match matched matches matching materialization
materialized max maximum may mb mcp means member members membership memory merged message messages met meta metadata
metastore metastores method metric metrics microsoft might migrated migration migrations milliseconds min minimum
minted minutes mirrors mismatch missing ml mlflow mode model models modes modified modify modifying moment monitor
monitored monitoring monitors more most move moves multiple must mutable mutually name named names namespace naming
navigate ne necessary need needed needs negative nested network never new newly next no node nodes none nonempty not
note notebook notebooks notes nothing notification notify now null num number numbers numeric oauth object objects
obo of off offset omit omits omitted omitting on onboarded once one online only onto opaque open openai opens
operation operational operations operator operators optimistic optimization optimized option optional optionally
options opts or order ordered ordering org organization origin original other otherwise out outcome output outside
over overridden override overrides overwrite overwriting overwritten own owned owner owners ownership owns packages
page pages paginate paginated paginating pagination pair pairs param parameter parameters params parent parents
parse part partial partially particular partition partner partway pass passed passthrough passwords patch patchop
patchschema path paths pattern payload pending per perform performance performed period periodically permanently
permission permissions personal personalization photon pip pipeline pipelines plan plane platform platforms please
plus point policies policy poll polls pool pools populated portal possible post postgres powered precedence
precondition predicate prefix present preserve prevent preview previous previously price primary principal
principals prior private privatelink privilege privileges process processes processing profile progress
project projects properties property proto provide provided provider providers provides providing provision
provisioned provisioning proxy public publish published purge purpose put python qps qualified quality queries query
question questions queue queued quota race raise raised range ranges rate ratelimit rather rating reach reached read
reading reads ready reason receive received recent recipient recipients recommend recommended recommends record
recorded records recursively redirect refer reference referenced references reflect refresh refreshes refuse refused
regardless region regions register registered registry regular reject rejected rejects related relating relative
release releases remain remains remote remove removed removes repeated replace replaced replacement replaces
replacing replication repo report reports repos repository represent representation represented representing
represents req request requested requesting requests require required requirements requires reranker reserved
resides resolve resolved resolves resource resources respective respectively respond response responses rest restart
restarted restore restored restores restrict restricted result resulting results retained retention retried
retrieval retrieve retrieved retrieves retry return returned returning returns reverts revoke revoked revoking rfc
risk role roles room root route routine row rows rpc rule rules run runas running runs runtime safe same
satisfy scale scaling scan schedule scheduled schedules scheduling schema schemas scim scope scoped scopes script
scripts sdp search searches second seconds secret secrets securable securables secure security see select selected
selective selects send sending sends sensitive sent separate separated separately sequence serialized serializes
series serve served server serverless serves service services serving session sessions set sets setting settings
shallow share shared shares sharing short should shown shows side sign similar simple simplify simultaneous since
single singleton size skipped skips snapshot so some soon sort source sourced sources space spaces spark
speaks spec special specific specification specified specifies specify specifying spend spot sql sqlstate stable
stage standard start started starting starts state statement states status stays step still stop stopped
stops storage store stored stores storing str stream streaming string strings strongly struct structure structured
subject submit subscriptions subsequent subset succeed succeeded succeeds success successful successfully such
sufficient suggested suitable summary supervisor supplied supply supplying support supported supports sw symlink
sync synced synchronization syntax system systems tab table tables tag tags take taken takes target task tasks tcli
team telemetry template temporarily temporary terminal terminate terminated terminates terminating termination
terraform test testing text than that the their them themselves then there therefore these they this those thought
three threshold thrift throttled through throughput throws time timed timeout times timestamp title to today
together token tokens too tool tools top total traceback traces tracking traffic training transition transitions
transitive trash trashed treats tree trigger triggered triggers true try two type types typically uc ui unable
unauthenticated unauthorized unavailable unbound unchanged unconditional under underlying underscores unexpected
unimplemented unintended unique uniquely unity unix unknown unless unlike unpaginated unresolvable unresolved
unrestricted unset unspecified unsupported until up updatable update updated updates updating upload uploads upon
upper upsert upstream uri url urls urn usable usage use used user username users uses using uuid valid validate
validates validation value valued values variables variants various vector vectors verify version versioning
versions versus via view views visibility visible visiting visualizations volume volumes vpc wait waiter want
warehouse warehouses warning was way we web webhook well were what when where whereas whether which while who whose
why widget widgets wildcards will window with within without work worker workflow working workload workloads works
workspace workspaces would wrap write writes written wrong xxkst yet you your zero
""".split()  # noqa: SIM905
)
