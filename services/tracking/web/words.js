// What the page says of states, and what can be done about them.

const BLOCKED = {
  access_policy: "Your organisation's policy does not let this application read your mailbox. Ask your administrator to add it to the application's access policy.",
  permission: "This application lacks a permission that it needs. Your administrator must grant it.",
  no_mailbox: "There is no mailbox in Exchange Online for your account. Ask your administrator.",
  throttled: "Microsoft 365 is slowing down access to your mailbox. This passes by itself; nothing is lost.",
  conditional_access: "Your organisation's Conditional Access does not let this application sign in. Ask your administrator to exclude it, or to allow where it runs.",
  credential_refused: "Microsoft 365 no longer takes this application's credential. Your administrator must renew it.",
  token_refused: "Microsoft 365 refuses this application. Your administrator must grant its permissions again.",
  unknown_tenant: "Microsoft 365 does not know your organisation under this id. Your administrator must correct it.",
  no_answer: "There was no answer in time.",
  gone: "It is no longer in your mailbox.",
  not_enrolled: "Your mailbox is not connected.",
  paused: "Capture of your mailbox is paused.",
};

export const because = (reason) => BLOCKED[reason] ?? (reason ? `The reason given is: ${String(reason).replaceAll("_", " ")}.` : "No reason was given. Ask your administrator.");

export const MAILBOX = {
  not_enrolled: () => ({
    title: "Your mailbox is not connected",
    text: "Nothing can be suggested to you, because your e-mails and meetings are not looked at. Ask your administrator to enrol your mailbox. What your colleagues track is shown all the same.",
  }),
  removed: () => MAILBOX.not_enrolled(),
  blocked: (reason) => ({ title: "Your mailbox cannot be read at the moment", text: because(reason) }),
  paused: () => ({
    title: "Capture of your mailbox is paused",
    text: "New e-mails and meetings will appear once your administrator resumes it. What was found before is still here.",
  }),
};

export const NOTHING = {
  title: "Nothing in the last three days",
  text: "E-mails and meetings with the people of this record appear here by themselves, seen by you alone. Track one, and everyone who can read this record sees it too.",
};
export const FIRST_READING = {
  title: "Your mailbox is being read for the first time",
  text: "E-mails and meetings of the last three days and the next three appear here by themselves, seen by you alone, as soon as they are found.",
};
export const NOTHING_FILTERED = { title: "Nothing passes the filters", text: "There may be something else on this timeline." };
export const NOT_THERE = {
  title: "There is no such record here",
  text: "It may have been deleted, or it is not shared with you. Search for another one, or ask whoever sent you the link.",
};
export const OFFLINE = { title: "You are offline", text: "What you see may be out of date. It goes on by itself once you are connected." };
export const AWAY = { title: "The timeline cannot be reached", text: "Trying again … what you see may be out of date." };
export const SESSION_ENDED = "Your session has ended. Sign in again to go on where you were.";
export const notLetIn = (why) => `You have signed in, but this timeline does not take that account (${why}). Use another one, or ask your administrator to set up your organisation here.`;
export const GROUPS = {
  title: "Some records may be missing",
  text: "You are in more groups than a sign-in can carry, so what is shared with a group alone is hidden from you. Ask your administrator to let the sign-in carry only the groups that are assigned to this application; then sign in again.",
};

const STAYS = "Once nobody tracks it on any record, its stored text is deleted. The e-mail or meeting itself stays as it is.";
export const tracker = (entry) => entry.by_name || "a colleague";
export const untrackOwn = (subject) => [
  `Untrack “${subject}”?`,
  `Your colleagues will no longer see it here, unless somebody else tracks it too. ${STAYS}`,
  "Untrack",
];
export const untrackOther = (subject, name, record) => [
  `Remove what ${name} tracked?`,
  `You do this as an administrator: “${subject}” will no longer be tracked by ${name} on ${record}. Unless somebody else tracks it here too, it leaves everyone's timeline of this record. ${STAYS}`,
  `Remove for ${name}`,
];

export const ROLES = { from: "From", to: "To", cc: "Cc", organizer: "Organizer", required: "Required", optional: "Optional" };
export const named = (person) => person.name || person.address;
export const typeName = (type) => type[0].toUpperCase() + type.slice(1).replaceAll("_", " ");
export const recordName = (record) => record.name || `${typeName(record.type)} ${record.id}`;
export const kindOf = (activity) =>
  activity.kind === "meeting" ? "Meeting" : activity.direction === "outgoing" ? "E-mail sent" : activity.direction === "incoming" ? "E-mail received" : "E-mail";
export const subjectOf = (activity) => activity.subject.trim() || "(no subject)";
