// Reads one record's timeline from the API: one read at a time, with all pages that are shown, and a retry after a
// failure. timeline.js calls load() after each change and shows what onRead and onError get.

const PAGE_SIZE = 50; // tracked activities
const RETRY_DELAY = 3_000; // ms

export class TimelineReader {
  // onRead(response, filtersUnchanged): filtersUnchanged since the previous read. onError(error).
  constructor(api, key, state, { onRead, onError }) {
    Object.assign(this, { api, key, state, onRead, onError });
    this.loading = null;
    this.loadAgain = false;
    this.lastFilters = null;
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.retry);
  }

  // Reads the timeline. Calls during a read cause exactly one further read after it.
  async load() {
    if (this.loading) {
      this.loadAgain = true;
      await this.loading;
      return this.loading;
    }
    this.loadAgain = false;
    this.loading = this.read().finally(() => {
      this.loading = null;
      if (this.loadAgain && !this.stopped) this.load();
    });
    return this.loading;
  }

  async read() {
    const { kind, direction } = this.state.filters;
    const number = ++this.state.reads;
    clearTimeout(this.retry);
    try {
      const response = await this.readPages(kind, direction);
      const { filters } = this.state;
      if (this.stopped || kind !== filters.kind || direction !== filters.direction) return;
      const unchanged = this.lastFilters?.kind === kind && this.lastFilters?.direction === direction;
      this.lastFilters = { kind, direction };
      this.onRead({ ...response, number }, unchanged);
    } catch (error) {
      if (!this.stopped) this.onError(error);
    }
  }

  async readPages(kind, direction) {
    const query = { kind, direction, limit: PAGE_SIZE };
    const response = await this.api.timeline(this.key, query);
    for (let page = 1; page < this.state.pages && response.next; page++) {
      const older = await this.api.timeline(this.key, { ...query, before: response.next });
      response.tracked.push(...older.tracked);
      response.next = older.next;
    }
    return response;
  }

  retryLater() {
    this.retry = setTimeout(() => this.load(), RETRY_DELAY);
  }
}
