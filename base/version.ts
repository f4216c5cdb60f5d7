declare const HEARTH_VERSION: string | undefined

/** Put in by the build; sources that run unbuilt are of no version. */
export const hearthVersion = typeof HEARTH_VERSION === 'string' ? HEARTH_VERSION : '0.0.0-unbuilt'
