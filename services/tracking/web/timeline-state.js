// The state of one record's timeline: the last response of the API, the filters, and the items that the user has
// dismissed on this page. It has no DOM and calls no API.
// timeline.js, timeline-reader.js and timeline-actions.js read and change it.

export class TimelineState {
  filters = { kind: "", direction: "", state: "" };
  pages = 1; // pages of tracked activities that are shown
  // The last response, with the number of its read; null before the first, and if the record is not found.
  response = null;
  reads = 0; // reads that have started
  dismissed = new Map(); // item -> {data, lastRead: the last read that started before the dismissal}

  setFilter(name, value) {
    this.filters[name] = value;
    this.pages = 1;
  }

  clearFilters() {
    for (const name of Object.keys(this.filters)) this.filters[name] = "";
  }

  get isFiltered() {
    return Object.values(this.filters).some(Boolean);
  }

  suggestion(item) {
    return this.response?.suggestions.find((suggestion) => suggestion.item === item);
  }

  markPending(item, until) {
    const suggestion = this.suggestion(item);
    if (suggestion) Object.assign(suggestion, { state: "pending", reason: null, until });
    return Boolean(suggestion);
  }

  dismiss(data) {
    this.dismissed.set(data.item, { data, lastRead: this.reads });
  }

  undoDismissal(data) {
    this.dismissed.delete(data.item);
    if (this.response && !this.suggestion(data.item)) this.response.suggestions.push(data);
  }

  // The entries to show, newest first: {key, state, data}.
  // state: "untracked", "pending", "failed", "dismissed" or "tracked".
  entries() {
    const { suggestions, tracked } = this.response;
    this.forgetUndoneDismissals(suggestions);
    const entries = [
      ...suggestions
        .filter(({ item }) => !this.dismissed.has(item))
        .map((data) => ({ key: `item/${data.item}`, state: data.state, data })),
      ...[...this.dismissed]
        .filter(([, { data }]) => this.passesFilters(data.activity))
        .map(([item, { data }]) => ({ key: `item/${item}`, state: "dismissed", data })),
      ...tracked.map((data) => ({ key: `tracked/${data.id}`, state: "tracked", data })),
    ];
    const { state } = this.filters;
    const shown = entries.filter((entry) => !state || (entry.state === "tracked") === (state === "tracked"));
    return shown.sort(newestFirst);
  }

  // A dismissed item that a later read returns has been restored by another page of the user.
  forgetUndoneDismissals(suggestions) {
    for (const { item } of suggestions) {
      const dismissal = this.dismissed.get(item);
      if (dismissal && this.response.number > dismissal.lastRead) this.dismissed.delete(item);
    }
  }

  passesFilters(activity) {
    const { kind, direction } = this.filters;
    return (!kind || activity.kind === kind) && (!direction || activity.direction === direction);
  }
}

function newestFirst(left, right) {
  if (left.data.activity.at !== right.data.activity.at) return left.data.activity.at < right.data.activity.at ? 1 : -1;
  return left.key < right.key ? -1 : 1;
}

// Whether a suggestion and a tracked activity show the same e-mail or meeting.
export const isSameActivity = (left, right) =>
  left.kind === right.kind && left.at === right.at && left.subject === right.subject;
