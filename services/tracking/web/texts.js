// The page's texts about states and their remedies, and the names of records, people and activities.
// Every module that shows text calls it; labels of single controls are where the control is drawn.

// Reasons of a blocked mailbox and of a track request that failed.
// short: on a tile. text: the whole sentence. notice: whether a tile's short form needs the sentence in a notice.
const REASONS = {
  access_policy: {
    short: "mailbox blocked",
    text: "Your organisation's policy does not let this application read your mailbox. Contact your administrator to add it to the application's access policy.",
    notice: true,
  },
  permission: {
    short: "mailbox blocked",
    text: "This application lacks a permission that it needs. Your administrator must grant it.",
    notice: true,
  },
  no_mailbox: {
    short: "no mailbox",
    text: "There is no mailbox in Exchange Online for your account. Contact your administrator.",
    notice: true,
  },
  throttled: {
    short: "mailbox slowed down",
    text: "Microsoft 365 is slowing down access to your mailbox. This passes without any action; nothing is lost.",
    notice: true,
  },
  conditional_access: {
    short: "mailbox blocked",
    text: "Your organisation's Conditional Access does not let this application sign in. Contact your administrator to exclude it, or to allow the network where it runs.",
    notice: true,
  },
  credential_refused: {
    short: "mailbox blocked",
    text: "Microsoft 365 no longer accepts this application's credential. Your administrator must renew it.",
    notice: true,
  },
  consent_missing: {
    short: "mailbox blocked",
    text: "This application is not approved in your organisation. Your administrator must grant its permissions.",
    notice: true,
  },
  token_refused: {
    short: "mailbox blocked",
    text: "Microsoft 365 refuses this application. Your administrator must grant its permissions again.",
    notice: true,
  },
  unknown_tenant: {
    short: "mailbox blocked",
    text: "Microsoft 365 has no organisation with this id. Your administrator must correct it.",
    notice: true,
  },
  no_answer: { short: "no response in time", text: "There was no response in time." },
  item_unavailable: { short: "not readable now", text: "Microsoft 365 does not return it now. Try again later." },
  deleted: { short: "record deleted", text: "The record was deleted." },
  too_many_entries: {
    short: "tracked too often",
    text: "It is tracked 60 times, by you and others on all records. No more is possible.",
  },
  gone: { short: "no longer in your mailbox", text: "It is no longer in your mailbox." },
  not_enrolled: { short: "mailbox not connected", text: "Your mailbox is not connected." },
  paused: { short: "capture paused", text: "Capture of your mailbox is paused." },
};

const otherReason = (reason) => ({
  short: "mailbox blocked",
  text: reason
    ? `The reason given is: ${String(reason).replaceAll("_", " ")}.`
    : "No reason was given. Contact your administrator.",
  notice: true,
});

// A reason may name what it is about: `permission:Mail.Read`.
const reasonTexts = (reason) => REASONS[String(reason).split(":")[0]] ?? otherReason(reason);
export const reasonText = (reason) => reasonTexts(reason).text;
export const shortReason = (reason) => reasonTexts(reason).short;
export const needsNotice = (reason) => Boolean(reasonTexts(reason).notice);

export const MAILBOX = {
  not_enrolled: () => ({
    title: "Your mailbox is not connected",
    text: "You get no suggestions, because your e-mails and meetings are not read. Contact your administrator to enrol your mailbox. You still see what your colleagues track.",
  }),
  removed: () => MAILBOX.not_enrolled(),
  blocked: (reason) => ({ title: "Your mailbox cannot be read at the moment", text: reasonText(reason) }),
  paused: () => ({
    title: "Capture of your mailbox is paused",
    text: "New e-mails and meetings appear once your administrator resumes it. Earlier ones are still here.",
  }),
};

// Why Microsoft 365 refuses notifications, e-mails or meetings; each follows "because".
const CAUSES = {
  access_policy: "your organisation's policy does not allow it",
  another_environment: "another installation of this application receives them",
  no_mailbox: "Exchange Online does not find your mailbox",
  permission: "this application lacks a permission that it needs",
  unavailable: "Microsoft 365 does not respond",
  webhook: "Microsoft 365 cannot reach this application",
};
const causeOf = (reason) =>
  CAUSES[reason.split(":")[0]] ?? `Microsoft 365 refuses them (${reason.replaceAll("_", " ")})`;
const NOT_CAPTURED = { email: "E-mails are not captured", meeting: "Meetings are not captured" };
export const kindRefused = ({ kind, reason }) => ({
  title: NOT_CAPTURED[kind],
  text: `, because ${causeOf(reason)}. Contact your administrator.`,
});
export const slowCapture = (reason) => ({
  title: "Slow",
  text: `: no notifications, because ${causeOf(reason)}. Anything new may take some minutes to appear.`,
});

export const notTracked = (reasons) => ({
  title: "Why some items are not tracked",
  text: reasons.map(reasonText).join(" "),
});

export const NOTHING = {
  title: "Nothing in the last three days",
  text: "E-mails and meetings with the people of this record appear here automatically, and only you can see them. Track one to share it with everyone who can open this record.",
};
export const FIRST_READING = {
  title: "Your mailbox is being read for the first time",
  text: "E-mails and meetings of the last three days and the next three appear here as soon as they are found, and only you can see them.",
};
export const NO_MATCHES = "No matches";
export const NO_RECORDS = "No records yet. They appear when your CRM publishes them.";
export const NO_RECORD = {
  title: "Record not found",
  text: "It may have been deleted, or it is not shared with you. Search for another one, or contact the person who sent you the link.",
};
export const OFFLINE = { title: "Offline", text: "Updates when you're back. Until then, this may be out of date." };
export const UNREACHABLE = {
  title: "The timeline cannot be reached",
  text: "Trying again… Until then, this may be out of date.",
};
export const SIGNED_OUT = "Signed out. Sign in to continue";
export const accountRefused = (detail) =>
  `You have signed in, but this timeline does not accept that account (${detail}). Use another one, or contact your administrator to set up your organisation here.`;
export const GROUPS_MISSING = {
  title: "Some records may be missing",
  text: "You are in more groups than a sign-in can carry, so records shared only with a group are hidden from you. Contact your administrator to limit the sign-in to the groups that are assigned to this application; then sign in again.",
};

export const ONLY_YOU = "Only you can see this";
export const SOURCE_GONE = "Deleted in Outlook";
export const sourceGone = (kind) =>
  `The ${kind === "meeting" ? "meeting" : "e-mail"} was deleted from the mailbox that it was tracked from. What was shared stays here.`;
export const SHARING = "Sharing… still private";
export const FILTERS = {
  state: { label: "Visibility", choices: { "": "All", own: "Private", tracked: "Tracked" } },
  kind: { label: "Type", choices: { "": "Any type", email: "E-mail", meeting: "Meetings" } },
  direction: { label: "Direction", choices: { "": "Sent & received", incoming: "Received", outgoing: "Sent" } },
};

export const ACTION_ERRORS = {
  offline: "You are offline. Try again when you're back.",
  unreachable: "The server did not respond. Try again in a moment.",
  "signed-out": SIGNED_OUT,
  "not-found": "It is no longer available.",
};
export const NO_LONGER_VISIBLE = "It is no longer suggested on this record, so it cannot be tracked.";

export const shareDialog = (subject, sensitivity, record) => ({
  title: `Share something ${sensitivity}?`,
  text: `“${subject}” is marked as ${sensitivity} in Outlook. Track shares it with everyone who can open ${record}, text included.`,
  accept: "Track it",
});
const STORED_TEXT =
  "Once nobody tracks it on any record, its stored text is deleted. The e-mail or meeting itself stays as it is.";
export const untrackOwnDialog = (subject) => ({
  title: `Untrack “${subject}”?`,
  text: `Your colleagues will no longer see it here, unless somebody else tracks it too. ${STORED_TEXT}`,
  accept: "Untrack",
});
export const untrackOtherDialog = (subject, name, record) => ({
  title: `Remove what ${name} tracked?`,
  text: `You do this as an administrator: “${subject}” will no longer be tracked by ${name} on ${record}. Unless somebody else tracks it here too, it leaves everyone's timeline of this record. ${STORED_TEXT}`,
  accept: `Remove for ${name}`,
});

export const ROLES = {
  from: "From",
  to: "To",
  cc: "Cc",
  organizer: "Organizer",
  required: "Required",
  optional: "Optional",
};
export const personName = (person) => person.name || person.address;
export const trackerName = (regarding) => regarding.by_name || "a colleague";
export const typeName = (type) => type[0].toUpperCase() + type.slice(1).replaceAll("_", " ");
export const recordName = (record) => record.name || `${typeName(record.type)} ${record.id}`;
export const subjectOf = (activity) => activity.subject.trim() || "(no subject)";
const EMAIL_KINDS = { outgoing: "E-mail sent", incoming: "E-mail received" };
export const kindName = ({ kind, direction }) =>
  kind === "meeting" ? "Meeting" : (EMAIL_KINDS[direction] ?? "E-mail");
