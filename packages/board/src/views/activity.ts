/** What happened on this device, latest first. */
import { fill, h, icon } from '../dom.ts';
import { ago } from '../format.ts';
import type { Session } from '../session.ts';
import { openCard } from './card-dialog.ts';
import { emptyNote, openDialog } from './dialog.ts';

export function openActivity(session: Session): void {
  const list = h('div', { class: 'entries' });
  const heading = h('h2', { class: 'with-icon' }, icon('history'), 'Activity');
  const dialog = openDialog({ title: 'Activity', testid: 'activity', kind: 'sheet', heading }, list);
  const open = (card: string): void => {
    dialog.close();
    openCard(session, card);
  };
  session.board.activity().then(
    (entries) => {
      const none = emptyNote('Nothing yet', 'Your changes and those of others appear here. This list stays on this device.');
      const items = entries.map(({ text, at, card, mine }) => {
        const known = card !== null && session.model.cards.has(card);
        const what = known ? h('button', { class: 'link', onclick: () => open(card) }, text) : text;
        const who = mine ? 'You' : 'Others';
        return h('li', {}, h('span', {}, what), h('span', { class: 'note' }, `${who} · ${ago(at.getTime())}`));
      });
      fill(list, items.length > 0 ? h('ul', { class: 'activity' }, ...items) : none);
    },
    (error: unknown) => session.voice.problem(error instanceof Error ? error.message : String(error)),
  );
}
