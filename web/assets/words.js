// The words of the page, in English and Korean, and the choice between them.

const WORDS = {
  en: {
    tagline: 'Two people, one window: write on one side, read on the other.',
    tagline_guest: 'Somebody gave you this link. Say hello.',
    language: 'Language',
    switch: 'Which visitor to show',
    missing_title: 'STOMP.js is missing',
    missing_text: 'The broker runs and takes connections, but it was built without the JavaScript '
      + 'client that this page uses. Install Node.js 20 with npm on the machine that builds it, then:',
    invite_title: 'Invite a third person',
    invite_hint: 'Open it in another tab, or on any device that reaches this address.',
    invite_hint_local: 'Open it in another tab. For a phone, start with --host 0.0.0.0 and open '
      + 'this page by the address of this machine.',
    link: 'Link to the visitor on the left',
    copy: 'Copy',
    copied: 'Copied',
    open: 'Open',
    guest: 'Guest {id}',
    new_visitor: 'Visitor',
    left: 'Visitor 1',
    right: 'Visitor 2',
    you: 'You',
    peers: 'Conversations',
    log: 'Messages with {name}',
    empty: 'No messages with {name} yet.',
    empty_waiting: 'Waiting for the other side …',
    hello: 'Say hello',
    hello_text: 'Hello!',
    placeholder: 'Message to {name}',
    placeholder_waiting: 'Message',
    send: 'Send',
    close: 'Dismiss',
    retry: 'Try again',
    unread: '{n} unread',
    state_connecting: 'Connecting …',
    state_connected: 'Connected',
    state_offline: 'Offline, trying again …',
    state_replaced: 'Opened somewhere else',
    state_closed: 'Signed off: {reason}',
    take_back: 'Use it here',
    delivery_queued: 'waits for the connection',
    delivery_sending: 'sending',
    delivery_sent: 'stored',
    delivery_stored: 'stored, number {seq}',
    delivery_failed: 'not sent',
    arrived: 'number {seq}',
    error_recipient_offline: 'This visitor cannot be reached any more.',
    error_rate_limited: 'Too fast. It is sent again in a moment.',
    error_store_unavailable: 'The store is away. It is sent again in a moment.',
    error_not_found: 'There is no such visitor.',
    error_validation_failed: 'The server does not take this message: {detail}',
    error_other: '{detail}',
  },
  ko: {
    tagline: '한 창에 두 사람: 한쪽에서 쓰고 다른 쪽에서 읽어 보세요.',
    tagline_guest: '누군가 이 링크를 보냈습니다. 인사해 보세요.',
    language: '언어',
    switch: '보여 줄 방문자',
    missing_title: 'STOMP.js가 없습니다',
    missing_text: '브로커는 실행 중이고 연결도 받지만, 이 페이지가 쓰는 자바스크립트 클라이언트 없이 '
      + '빌드되었습니다. 빌드하는 컴퓨터에 npm이 포함된 Node.js 20을 설치한 뒤 실행하세요:',
    invite_title: '세 번째 사람 초대',
    invite_hint: '다른 탭이나, 이 주소에 접속할 수 있는 기기에서 열어 보세요.',
    invite_hint_local: '다른 탭에서 열어 보세요. 휴대전화로 열려면 --host 0.0.0.0 옵션으로 시작하고 '
      + '이 컴퓨터의 주소로 접속하세요.',
    link: '왼쪽 방문자에게 가는 링크',
    copy: '복사',
    copied: '복사됨',
    open: '열기',
    guest: '손님 {id}',
    new_visitor: '방문자',
    left: '방문자 1',
    right: '방문자 2',
    you: '나',
    peers: '대화 목록',
    log: '대화 상대: {name}',
    empty: '아직 메시지가 없습니다. 상대: {name}',
    empty_waiting: '상대를 기다리는 중 …',
    hello: '인사하기',
    hello_text: '안녕하세요!',
    placeholder: '메시지 입력 (받는 사람: {name})',
    placeholder_waiting: '메시지 입력',
    send: '보내기',
    close: '닫기',
    retry: '다시 보내기',
    unread: '안 읽은 메시지 {n}개',
    state_connecting: '연결 중 …',
    state_connected: '연결됨',
    state_offline: '연결 끊김, 다시 시도 중 …',
    state_replaced: '다른 곳에서 열림',
    state_closed: '연결 종료: {reason}',
    take_back: '여기서 사용',
    delivery_queued: '연결 대기 중',
    delivery_sending: '보내는 중',
    delivery_sent: '저장됨',
    delivery_stored: '저장됨, {seq}번',
    delivery_failed: '보내지 못함',
    arrived: '{seq}번',
    error_recipient_offline: '이 방문자에게는 더 이상 보낼 수 없습니다.',
    error_rate_limited: '너무 빠릅니다. 잠시 뒤 다시 보냅니다.',
    error_store_unavailable: '저장소에 연결할 수 없습니다. 잠시 뒤 다시 보냅니다.',
    error_not_found: '그런 방문자가 없습니다.',
    error_validation_failed: '보낼 수 없는 메시지입니다: {detail}',
    error_other: '{detail}',
  },
};

const KEPT = 'stompbox.language';

/** Tells everybody that the language has changed. */
export const languages = new EventTarget();

let language = choose();

function choose() {
  const wished = [localStorage.getItem(KEPT), ...(navigator.languages ?? [navigator.language])];
  const known = wished.map((tag) => tag?.split('-')[0]).find((tag) => tag in WORDS);
  return known ?? 'en';
}

export function currentLanguage() {
  return language;
}

export function speak(tag) {
  language = tag;
  localStorage.setItem(KEPT, tag);
  languages.dispatchEvent(new Event('change'));
}

/** The words for a key, with what belongs into them. */
export function words(key, values = {}) {
  const text = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

/** Whether there are words for a key. */
export function hasWords(key) {
  return key in WORDS.en;
}

/** Fills in everything below `root` that names its words. */
export function fill(root) {
  for (const element of root.querySelectorAll('[data-words]')) {
    element.textContent = words(element.dataset.words);
  }
  for (const element of root.querySelectorAll('[data-label]')) {
    element.setAttribute('aria-label', words(element.dataset.label));
  }
}

/** What a visitor is called: as the server calls him, from the end of his address. */
export function nameOf(userId) {
  return userId ? words('guest', { id: userId.slice(-4) }) : words('new_visitor');
}
